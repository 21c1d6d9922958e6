"""What each kind of zero saves, in cycles of the array, bytes of weights read, and energy of arithmetic."""

from typing import NamedTuple

import numpy as np

from ..hdl.config import TRITS
from ..sim.model.energy import Range
from .profile import Profile


__all__ = ["Saving", "savings"]


class Saving(NamedTuple):
    """Of one token; ``built`` tells whether the machine does it, else it is what it could save at best."""
    zero: str
    built: bool
    share: float  # of what could be zero
    cycles: float
    bytes: float  # of weights that are not read
    products: float
    energy: Range  # J, of the arithmetic ledger


def savings(profile: Profile, config):
    """List of Saving."""
    layers, ledger = profile.layers, profile.energy["arithmetic"]

    def total(of):
        return sum(layer.layers * of(layer) for layer in layers)

    listed = total(lambda layer: layer.listed)
    product = Range(*(ledger[name] for name in Range._fields)) * (1 / listed if listed else 0.0)

    def saving(zero, built, share, cycles, products):
        return Saving(zero, built, float(share), cycles, cycles * word_bytes, products, product * products)

    word_bytes = config.products / TRITS  # read in a cycle of the array
    activation_cycles = total(lambda layer: layer.issue_dense - layer.cycles["issue"])
    dead_cycles = total(lambda layer: layer.issue_whole - layer.issue_dense)
    dead = total(lambda layer: layer.products - layer.live_products) / total(lambda layer: layer.products)
    gates = [layer for layer in layers if layer.kind == "gate_up"]
    gated = {layer.layer: float(np.mean(layer.zeros)) for layer in layers if layer.kind == "down"}
    up_cycles = sum(layer.layers * layer.cycles["issue"] / 2 * gated[layer.layer] for layer in gates)
    up_products = sum(layer.layers * layer.listed / 2 * gated[layer.layer] for layer in gates)
    found = [
        saving("activation columns that are 0", True, 1 - listed / total(lambda layer: layer.live_products),
               activation_cycles, total(lambda layer: layer.live_products - layer.listed)),
        saving("dead rows and columns of weights", True, dead, dead_cycles,
               total(lambda layer: layer.products - layer.live_products)),
    ]
    if profile.activation == "relu2":
        found.append(saving("rows of up where relu(gate) is 0", False, np.mean(list(gated.values())), up_cycles,
                            up_products))
    known = [layer for layer in layers if layer.weight_zeros is not None]
    if known:
        share = sum(layer.products * layer.weight_zeros for layer in known) / sum(layer.products for layer in known)
        # Their operand is gated: the addition is made, of zero.
        found.append(saving("single weights that are 0", True, share, 0.0, 0.0))
    return found
