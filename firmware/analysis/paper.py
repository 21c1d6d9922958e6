"""The energy and memory figures of the BitNet papers by our formulas, and the same asked of this machine."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from ..hdl.config import TRITS
from ..sim.model.energy import coefficient
from .memory import memory_of
from .models import Dimensions, named_models
from .profile import profile_dimensions


__all__ = ["SDRAM", "Row", "advantage", "linear_energy", "paper_rows"]


TABLE = "7nm"  # of both papers
TOKENS = 512
BYTE_BITS, FP16_BYTES = 8, 2
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

    Hypothetical: on no board, so without a link. Weights come from one SDRAM, of which an int8 array needs 5 and an
    fp16 array 10 times as much; all three multiply the same activations. Energy is that of the arithmetic ledger, with
    attention in fp16 as in the papers. Yields dictionaries of ratios, theirs over ours.
    """
    for model in named_models().values():
        profile = profile_dimensions(model, config, clock=clock, memory=SDRAM, table=TABLE, hypothetical=True)
        ours = profile.bytes_per_token()["weights"]
        cycles = profile.cycles_by_cause()
        array = profile.cycles_per_token - cycles["load"]
        parts = profile.energy["arithmetic"]["parts"]
        attention = next(part["mid"] for name, part in parts.items() if name.startswith("attention"))
        others = {}
        for name, factor, part in (("int8", TRITS, "int8 multiplications and int32 additions"),
                                   ("fp16", TRITS * FP16_BYTES, "fp16 multiplications and additions")):
            moved = ours * factor
            others[f"{name}_bytes"] = moved / ours
            others[f"{name}_cycles"] = max(array, moved / SDRAM.bytes_a_cycle(clock)) / profile.cycles_per_token
            others[f"{name}_energy"] = (parts[part]["mid"] + attention) / (
                profile.energy["arithmetic"]["mid"] + attention)
        yield {"model": model.name, "weights": model.weights, "bytes": ours, "cycles": profile.cycles_per_token,
               "tokens_per_second": profile.tokens_per_second, **others}
