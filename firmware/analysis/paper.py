"""The energy and memory figures of the BitNet papers by our formulas, and the same asked of this machine."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from ..hdl.config import TRITS
from ..sim.model.energy import coefficient
from .memory import memory_of
from .models import Dimensions, named_models
from .profile import profiler


__all__ = ["SDRAM", "Row", "advantage", "linear_energy", "paper_rows"]


TABLE = "7nm"  # of both papers
TOKENS = 512
FP16_BYTES = 2
SDRAM = memory_of("sdram")


class Row(NamedTuple):
    """A published figure and ours."""
    name: str
    published: float
    ours: float
    unit: str
    source: str
    why: str  # they differ

    @property
    def deviation(self):
        """Relative difference of our figure from the published one."""
        return self.ours / self.published - 1


def _operation(*names):
    return sum(coefficient("arithmetic", TABLE, name)[0].mid for name in names)


def linear_energy(dimensions, ternary, tokens=TOKENS):
    """J of ``tokens`` tokens, as both papers count: an operation a weight, and attention over ``tokens`` in fp16."""
    fp16 = _operation("fp16_add", "fp16_multiply")
    attention = 2 * tokens * dimensions.layers * dimensions.queries * fp16
    return tokens * (dimensions.weights * (_operation("int8_add") if ternary else fp16) + attention)


def paper_rows():
    """Rows of all published figures."""
    paper = msgspec.yaml.decode(Path(__file__).with_name("paper.yaml").read_bytes())
    models = named_models() | {item["name"]: msgspec.convert(item, Dimensions) for item in paper["rivals"]}
    mac = paper["per_mac"]
    yield Row(f"ratio of a MAC: {mac['of']}", mac["published"],
              _operation("fp16_add", "fp16_multiply") / _operation("int8_add"), "", mac["source"], "")
    for row in paper["ratios"]["rows"]:
        model = models[row["model"]]
        yield Row(f"energy of {row['model']} in fp16 over ternary", row["published"],
                  linear_energy(model, False) / linear_energy(model, True), "", paper["ratios"]["source"],
                  row.get("why", ""))
    ternary = {name for name in named_models()}
    for row in paper["totals"]["rows"]:
        model = models[row["model"]]
        yield Row(f"energy of {row['model']}, {TOKENS} tokens", row["energy"],
                  linear_energy(model, row["model"] in ternary), "J", paper["totals"]["source"],
                  row.get("why", "") if row["model"] in ternary else "")
    for row in paper["totals"]["rows"]:
        model = models[row["model"]]
        size = model.weights / TRITS if row["model"] in ternary else model.weights * FP16_BYTES
        yield Row(f"memory of {row['model']}, without embedding", row["memory"], size / 1e9, "GB",
                  paper["totals"]["source"], row.get("why", ""))


def advantage(config, clock):
    """How the advantage grows with the model on this machine: for each named model, against arrays of the same width.

    Hypothetical, on no board: weights come from one SDRAM, of which an int8 array needs 5 and an fp16 array 10 times as
    much; all three take the same cycles for what they compute. Energy is that of the arithmetic ledger. Yields
    dictionaries of ratios, theirs over ours.
    """
    for model in named_models().values():
        found = profiler(model)(config, board=None, clock=clock, memory=SDRAM, context=TOKENS, table=TABLE,
                                calibration=None)
        parts = {name.partition(":")[0]: part["mid"] for name, part in found.energy["arithmetic"]["parts"].items()}
        computes, others = found.cycles_per_token / clock, {}
        for name, factor in (("int8", TRITS), ("fp16", TRITS * FP16_BYTES)):
            others[f"{name}_bytes"] = float(factor)
            others[f"{name}_time"] = (max(computes, found.streamed_bytes * factor / SDRAM.bandwidth)
                                      / found.seconds_per_token)
            others[f"{name}_energy"] = parts[f"{name} weights"] / parts["this machine"]
        yield {"model": model.name, "weights": model.weights, "bytes": found.streamed_bytes,
               "cycles": found.cycles_per_token, "tokens_per_second": found.tokens_per_second, **others}
