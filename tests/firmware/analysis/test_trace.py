import json
from collections import defaultdict

import pytest

from setun.analysis.profile import profile
from setun.analysis.trace import UNITS, trace_events


@pytest.mark.parametrize("model, options", [("demo", {"context": 3}), ("2b4t", {"context": 8})])
def test_trace(model, options):
    """A track a unit, and none does two things at once; all but the array follow each other without a gap, and of a
    model whose layers are known one by one their cycles are the token's."""
    found = profile(model, **options)
    trace = json.loads(json.dumps(trace_events(found)))
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    names = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"}
    assert names == {number: name for name, number in UNITS.items()}
    tracks = defaultdict(list)
    for event in events:
        assert event["dur"] == pytest.approx(event["args"]["cycles"] / 100)
        tracks[names[event["tid"]]].append((event["ts"], event["ts"] + event["dur"]))
    assert set(tracks) == set(UNITS)
    for spans in tracks.values():
        assert all(end <= start + 1e-6 for (_, end), (start, _) in zip(sorted(spans), sorted(spans)[1:]))
    serial = sorted(span for unit, spans in tracks.items() if unit != "array" for span in spans)
    total = sum(end - start for start, end in serial)
    assert trace["otherData"]["position"] == found.positions[-1] == options["context"]
    if model == "demo":
        waits = sum(count for spent, count in found.cycles[-1].items() if spent.cause == "array")
        turn = sum(count for spent, count in found.cycles[-1].items() if spent.instruction == "Turn")
        assert total == pytest.approx((found.cycles[-1].total() - waits - turn) / 100)
