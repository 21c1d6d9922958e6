import json
from collections import defaultdict

import pytest

from setun.analysis.memory import Memory
from setun.analysis.models import named_models
from setun.analysis.profile import collect_activations, profile_checkpoint, profile_dimensions
from setun.analysis.trace import UNITS, trace_events
from setun.cli.options import DEMO
from setun.formats import checkpoint
from setun.hdl.boards import BOARDS
from setun.hdl.config import PRESETS


def profiles():
    loaded = checkpoint.load(DEMO)
    yield profile_checkpoint(loaded, "demo", collect_activations(loaded, list(b"In")), PRESETS["16x40"], clock=1e8)
    yield profile_dimensions(named_models()["2b4t"], PRESETS["16x20"], clock=1e8, memory=Memory("sdram", 1e8))
    yield profile_dimensions(named_models()["bitnet-700m"], PRESETS["16x20"], clock=1e8, board=BOARDS["ulx3s"],
                             memory=Memory("link"))


@pytest.mark.parametrize("profile", list(profiles()), ids=lambda profile: profile.model)
def test_trace(profile):
    """One thing after another; cycles by unit are the profile's, and times those at its clock, and of all a token's."""
    trace = json.loads(json.dumps(trace_events(profile)))
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    names = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"}
    assert names == {number: name for name, number in UNITS.items()}
    ends = [event["ts"] + event["dur"] for event in events]
    assert all(start["ts"] == pytest.approx(end) for end, start in zip(ends, events[1:]))
    cycles = defaultdict(float)
    for event in events:
        cycles[names[event["tid"]]] += event["args"]["cycles"]
        assert event["dur"] == pytest.approx(event["args"]["cycles"] / 100)
    causes = profile.cycles_by_cause()
    assert cycles["array"] == pytest.approx(causes["issue"] + causes["flush"])
    assert cycles["vector"] == pytest.approx(causes["vector"]) and cycles["weights"] == pytest.approx(causes["load"])
    assert sum(cycles.values()) == pytest.approx(profile.seconds_per_token * profile.clock)
    assert (cycles["link"] > 0) == (profile.board is not None)
    assert len({event["name"] for event in events}) == sum(layer.layers for layer in profile.layers)
