import pytest

from setun.sim.verify.coverage import Model, Place, Point, read_places
from tests.campaigns.cover import measure, summary


SEED, CYCLES = 2, 200_000  # ``make coverage`` goes on until all is met


def entry(count, **keys):
    return "C '" + "".join(f"\1{key}\2{value}" for key, value in keys.items()) + f"' {count}"


def test_places():
    line = dict(f="a.v", l=7, n=3, t="line", page="v_line/top.loader", o="block", h="top.loader")
    toggle = dict(f="a.v", l=9, n=1, t="toggle", page="v_toggle/top.array.drain_0", o="address[2]:0->1", h="top.array*")
    text = "\n".join(["# SystemC::Coverage-3", entry(5, **line), entry(0, **toggle), entry(2, **line)])
    assert read_places(text) == {
        Place("loader", "top.loader", "line", 7, 3, "block"): 7,
        Place("array", "top.array.drain_0", "toggle", 9, 1, "address[2]:0->1"): 0}


def test_no_places():
    with pytest.raises(ValueError, match="^line 2 is none of a coverage.dat: C 'x"):
        read_places("# SystemC::Coverage-3\nC 'x")


def test_model():
    model = Model("test_model", {
        "colour": Point(["red", "green"]),
        "pair": Point.cross([0, 1], [0, 1], holes=[(lambda one, two: one > two, "it never falls")])})
    assert not model.closed and model.missing("colour") == ["red", "green"]
    for value in ((0, 0), (0, 1), (1, 1)):
        model.meet("pair", value)
    model.meet("colour", "green")
    assert not model.closed and model.missing("colour") == ["red"]
    assert model.report() == {"colour": dict(bins=2, met=1, missing=["red"], holes={}),
                              "pair": dict(bins=3, met=3, missing=[], holes={"(1, 0)": "it never falls"})}
    model.meet("colour", "red")
    assert model.closed


@pytest.mark.parametrize("value, message", [((1, 0), r"pair: \(1, 0\) was met, though it never falls"),
                                            ((2, 2), r"pair: \(2, 2\) was met, and is no bin")])
def test_unforeseen(value, message):
    model = Model("test_unforeseen", {
        "pair": Point.cross([0, 1], [0, 1], holes=[(lambda one, two: one > two, "it never falls")])})
    with pytest.raises(ValueError, match=message):
        model.meet("pair", value)


def test_summary():
    points = {"a": dict(bins=3, met=2), "b": dict(bins=1, met=1)}
    places = [["array", "line", "", 3], ["array", "line", "", 0], ["loader", "line", "", 1],
              ["loader", "toggle", "", 0]]
    assert summary(dict(points=points, places=places)) == {
        "bins": [3, 4], "lines of array": [1, 2], "lines": [2, 3], "lines of loader": [1, 1],
        "toggles of loader": [0, 1], "toggles": [0, 1]}


def test_nearly_closes():
    """Nearly all bins of the machine are met soon, and those of each point in part; a shorter run meets fewer."""
    found = measure(SEED, CYCLES)
    reached, all_ = summary(found)["bins"]
    assert all_ > 120 and reached > .8 * all_


def test_not_closed():
    found = measure(SEED, 5000)
    missing = [point for point, fields in found["points"].items() if fields["missing"]]
    assert missing and f"{missing[0]}: " in found["failure"]
