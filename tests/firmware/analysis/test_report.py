"""The HTML report in a browser without a network."""

import html
import html.parser
import re
import shutil
import subprocess

import pytest

from setun.analysis.memory import memory_of
from setun.analysis.models import dimensions_of, named_models
from setun.analysis.profile import profile, profiler
from setun.analysis.report import WHAT_IF, report, sections, what_if
from setun.cli.options import DEMO
from setun.formats import checkpoint
from setun.hdl.config import PRESETS


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 120
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module", params=["demo", "2b4t"])
def profiled(request):
    """A profile, and the Dimensions of its model."""
    if request.param == "demo":
        dimensions = dimensions_of(checkpoint.load(DEMO), "demo")
        return profile("demo", board="ulx3s", context=6), dimensions
    return profile("2b4t", config="16x20", memory="sdram", context=64), named_models()["2b4t"]


@pytest.fixture(scope="module")
def page(profiled, tmp_path_factory):
    """Path of the report, and its grid."""
    found, dimensions = profiled
    again = profiler(dimensions)
    grid = what_if(PRESETS[found.config], lambda config, clock: again(
        config, clock=clock, memory=memory_of("resident"), board=None, table="45nm", calibration=None, context=8))
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report(found, PRESETS[found.config], grid))
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
    found, _ = profiled
    path, grid = page
    text = re.sub("<script.*?</script>", "", path.read_text(), flags=re.DOTALL)
    tables = Tables(text).tables
    expected = sections(found)
    assert len(tables) == len(expected) + 1
    for table, section in zip(tables, expected):
        assert table[0] == section.headings and table[1:] == section.rows
    assert tables[0][-1] == ["end to end", found.speed]
    assert tables[1][-1][0] == tables[2][-1][0] == str(found.context)  # the last position
    assert int(tables[1][-1][-1].replace(",", "")) == found.cycles[-1].total()
    assert float(tables[3][-1][-1].replace(",", "")) == pytest.approx(found.cycles_per_token, abs=.05)
    assert len(tables[-1]) == len(grid) + 1 and [row[:3] for row in tables[-1][1:]] == [
        [str(value) for value in row[:3]] for row in grid]


def test_heading(profiled, page):
    """What is supposed stands before all figures, then the rate, what binds, and the joules of a board."""
    found, _ = profiled
    text = html.unescape(re.sub("<script.*?</script>|<[^>]*>", "", page[0].read_text(), flags=re.DOTALL))
    start = " ".join(text[:text.index("utilisation")].split())
    assert f"{found.speed} tokens a second" in start and found.verdict in start
    assert (f"Hypothetical: {found.hypothetical}." in start) == (found.model == "2b4t")
    assert ("J a token: modelled, ulx3s" in start) == (found.model == "demo")


def test_one_ledger_a_figure(profiled):
    found, _ = profiled
    titles = [section.title for section in sections(found)]
    assert all(f"Energy of a token: {name} ledger" in titles for name in found.energy) and len(found.energy) >= 2


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
    found, _ = profiled
    result = browse(page[0], "--dump-dom")
    assert not re.search(r"CONSOLE.*(Error|Uncaught)", result.stderr), result.stderr
    assert result.stdout.count('class="plot-container') == len(sections(found))
    assert result.stdout.count('class="xtick"') > 10
    answer = re.search(r'<output id="answer"[^>]*>([^<]*)</output>', result.stdout)[1]
    assert answer.startswith(f"{page[1][0][3]:,} cycles a token, ")


@in_a_browser
def test_printed(page, tmp_path):
    browse(page[0], f"--print-to-pdf={tmp_path / 'report.pdf'}")
    printed = (tmp_path / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF") and printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page/") >= 3
    assert b"/Font" in printed
