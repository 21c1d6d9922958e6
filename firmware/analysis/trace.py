"""A token as a Chrome trace, for Perfetto: a track for each unit."""

__all__ = ["trace_events"]


UNITS = {"weights": 1, "vector": 2, "array": 3, "link": 4}


def trace_events(profile):
    """{"traceEvents": [...]} of a token, layer after layer, in microseconds at the profile's clock.

    The vector unit lists an input, then the array multiplies its chunks; their weights are written before that, where
    they do not come over the link, and what is written beside the array's work is not shown apart. On a board the link
    follows: the time of the matrix in which the device waits for it. Each event's ``args`` hold its cycles.
    """
    events = [{"ph": "M", "pid": 1, "tid": number, "name": "thread_name", "args": {"name": name}}
              for name, number in UNITS.items()]
    time = 0.0

    def add(unit, name, cycles, **args):
        nonlocal time
        if cycles:
            events.append({"ph": "X", "pid": 1, "tid": UNITS[unit], "name": name, "ts": time * 1e6 / profile.clock,
                           "dur": cycles * 1e6 / profile.clock, "args": {"cycles": cycles, **args}})
            time += cycles

    several = {layer.layer for layer in profile.layers} == {None}
    count = profile.layers[0].layers if several else 1
    for repetition in range(count):
        for layer in profile.layers:
            number = repetition if several else layer.layer
            name = f"{number} {layer.kind}"
            add("vector", name, layer.cycles["vector"], columns=layer.columns)
            add("weights", name, layer.cycles["load"], bytes=layer.bytes["weights"])
            add("array", name, layer.cycles["issue"] + layer.cycles["flush"], issue=layer.cycles["issue"],
                flush=layer.cycles["flush"], zeros=sum(layer.zeros) / len(layer.zeros))
            if layer.link:
                add("link", name, layer.seconds * profile.clock - layer.total, **layer.link)
    return {"displayTimeUnit": "ns", "traceEvents": events,
            "otherData": {"model": profile.model, "config": profile.config, "clock": profile.clock,
                          **({"hypothetical": profile.hypothetical} if profile.hypothetical else {})}}
