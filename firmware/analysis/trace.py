"""A token as a Chrome trace, for Perfetto: a track for each unit."""

__all__ = ["trace_events"]


UNITS = {"control": 1, "array": 2, "lanes": 3, "scalars": 4}


def trace_events(profile):
    """{"traceEvents": [...]} of the last position that a profile looked at, in microseconds at its clock.

    A track a unit: the array works while the lanes, the scalar unit or the control go on. Where a model's layers are
    alike there are two of them. Each event's ``args`` hold its cycles.
    """
    events = [{"ph": "M", "pid": 1, "tid": number, "name": "thread_name", "args": {"name": name}}
              for name, number in UNITS.items()]
    scale = 1e6 / profile.clock
    events += [{"ph": "X", "pid": 1, "tid": UNITS[event.unit], "name": f"{event.stage} {event.instruction}",
                "ts": event.start * scale, "dur": event.cycles * scale, "args": {"cycles": event.cycles}}
               for event in profile.timeline if event.cycles]
    return {"displayTimeUnit": "ns", "traceEvents": events,
            "otherData": {"model": profile.model, "config": profile.config, "clock": profile.clock,
                          "position": profile.positions[-1],
                          **({"hypothetical": profile.hypothetical} if profile.hypothetical else {})}}
