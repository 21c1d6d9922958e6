"""The HTML report in a browser without a network."""

import functools
import html.parser
import re
import shutil
import subprocess

import pytest

from setun.analysis.memory import Memory, memory_of
from setun.analysis.models import named_models
from setun.analysis.profile import collect_activations, profile_checkpoint, profile_dimensions
from setun.analysis.report import WHAT_IF, report, sections, what_if
from setun.analysis.skipping import savings
from setun.cli.options import DEMO
from setun.formats import checkpoint
from setun.hdl.boards import BOARDS
from setun.hdl.config import PRESETS


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 120
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module", params=["demo", "2b4t"])
def profiled(request):
    """Profile, config, and the function that profiles anew."""
    if request.param == "demo":
        loaded, config, memory = checkpoint.load(DEMO), BOARDS["ulx3s-800"].config, Memory()
        again = functools.partial(profile_checkpoint, loaded, "demo", collect_activations(loaded, list(b"In the")),
                                  board=BOARDS["ulx3s-800"])
    else:
        config, memory = PRESETS["16x20"], memory_of("sdram")
        again = functools.partial(profile_dimensions, named_models()["2b4t"])
    return again(config, clock=125e6, memory=memory), config, again


@pytest.fixture(scope="module")
def page(profiled, tmp_path_factory):
    """Path of the report, and its grid."""
    profile, config, again = profiled
    grid = what_if(config, profile.memory, lambda config, clock, memory: again(config, clock=clock, memory=memory))
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report(profile, config, grid))
    return path, grid


def browse(page, *options):
    return subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=10000", "--enable-logging=stderr", *options,
         page.as_uri()], capture_output=True, text=True, timeout=SECONDS, check=True)


class Tables(html.parser.HTMLParser):
    """Cells of all tables: [[row]]."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.inside = [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        self.inside = tag in ("th", "td")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, text):
        if self.inside:
            self.tables[-1][-1][-1] += text


def test_tables(profiled, page):
    """Every number of every figure stands in a table, and is the profile's."""
    profile, config, _ = profiled
    path, grid = page
    text = re.sub("<script.*?</script>", "", path.read_text(), flags=re.DOTALL)
    tables = Tables(text).tables
    expected = sections(profile, config)
    assert len(tables) == len(expected) + 1
    for table, section in zip(tables, expected):
        assert table[0] == section.headings and table[1:] == section.rows
    assert tables[0][-1] == ["end to end", profile.speed]
    assert float(tables[1][-1][-1].replace(",", "")) == pytest.approx(profile.cycles_per_token, abs=.05)
    assert len(tables[-1]) == len(grid) + 1 and [row[:4] for row in tables[-1][1:]] == [
        [str(value) for value in row[:4]] for row in grid]


def test_heading(profiled, page):
    """What is supposed stands before all figures, then the rate, what binds, and the joules of a board."""
    profile, _, _ = profiled
    text = " ".join(re.sub("<script.*?</script>|<[^>]*>", "", page[0].read_text(), flags=re.DOTALL).split())
    start = text[:text.index("cycles a token")]
    assert f"{profile.speed} tokens a second" in start and profile.verdict in start
    assert (f"Hypothetical: {profile.hypothetical}." in start) == (profile.model == "2b4t")
    assert ("mJ a token: modelled, ulx3s-800" in start) == (profile.model == "demo")


def test_one_ledger_a_figure(profiled):
    profile, config, _ = profiled
    titles = [section.title for section in sections(profile, config)]
    assert [f"Energy of a token: {name} ledger" in titles for name in profile.energy] == [True] * len(profile.energy)
    assert len(profile.energy) >= 2


def test_self_contained(page):
    """Nothing is fetched: no element refers to another file."""
    text = re.sub("<script>.*?</script>", "", page[0].read_text(), flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text) and "@import" not in text and "url(" not in text


def test_accessible(page):
    """Figures have names, headings of tables a scope, controls labels, and regions that scroll take the focus."""
    text = re.sub("<script>.*?</script>", "", page[0].read_text(), flags=re.DOTALL)
    assert text.count('role="img" aria-label="') == text.count("<section ") - 1
    assert "<th>" not in text and text.count("<select>") == text.count("<label>") == len(WHAT_IF)
    assert text.count('class="scroll" tabindex="0"') == text.count('class="scroll"')
    assert "<html lang=" in text and "@media print" in text


@in_a_browser
def test_in_a_browser(profiled, page):
    """All figures are drawn, the question is answered, and nothing goes wrong."""
    profile, config, _ = profiled
    result = browse(page[0], "--dump-dom")
    assert not re.search(r"CONSOLE.*(Error|Uncaught)", result.stderr), result.stderr
    assert result.stdout.count('class="plot-container') == len(sections(profile, config))
    assert result.stdout.count('class="xtick"') > 10
    answer = re.search(r'<output id="answer"[^>]*>([^<]*)</output>', result.stdout)[1]
    assert answer.startswith(f"{page[1][0][4]:,} cycles a token, ")


@in_a_browser
def test_printed(page, tmp_path):
    browse(page[0], f"--print-to-pdf={tmp_path / 'report.pdf'}")
    printed = (tmp_path / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF") and printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page/") >= 3
    assert b"/Font" in printed


def test_savings(profiled):
    """Cycles of what is built add up to those of the whole matrices."""
    profile, config, _ = profiled
    found = {saving.zero: saving for saving in savings(profile, config)}
    issue = profile.cycles_by_cause()["issue"]
    whole = sum(layer.layers * layer.issue_whole for layer in profile.layers)
    assert issue + sum(saving.cycles for saving in found.values() if saving.built) == pytest.approx(whole)
    assert all(0 <= saving.share < 1 and saving.cycles >= 0 for saving in found.values())
    assert found["activation columns that are 0"].cycles > 0
    # Each product that is not made saves what one that is made takes.
    made = sum(layer.layers * layer.listed for layer in profile.layers)
    for saving in found.values():
        assert saving.energy.mid * made == pytest.approx(profile.energy["arithmetic"]["mid"] * saving.products,
                                                         rel=1e-6, abs=0)


@pytest.mark.parametrize("name, saved", [("bitnet-700m", False), ("2b4t", True)])
def test_savings_of_rows(name, saved):
    """Only relu makes rows of up superfluous."""
    config = PRESETS["16x20"]
    profile = profile_dimensions(named_models()[name], config, clock=125e6, memory=memory_of("sdram"))
    assert any("relu" in saving.zero for saving in savings(profile, config)) == saved
