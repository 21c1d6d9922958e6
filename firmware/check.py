"""The models beside an accelerator: each product computed again in NumPy, and its cycles predicted."""

from .generate import Tally
from .golden.bit_linear import quantised_matvec
from .sim.model.cycles import multiply_cycles


__all__ = ["compare"]


def compare(config, placed, product, cycles, layer, kind, codes, y):
    """What a product of a device differs in from golden and from the cycle model.

    Parameters
    ----------
    config : setun.Config
    placed : setun.compiler.packing.Placed
    product : setun.driver.device.Product
        Of ``y``, which the device quantised.
    cycles : int
        Of its array and vector unit, as counted.
    layer, kind, codes, y
        As of the ``linear`` of golden.decoder.step.

    Returns a Tally of values, mismatches, predicted cycles and cycle errors. Of a product with frames that were sent
    again only the values are compared: what it counts may be counted twice.
    """
    accumulators, absmax = quantised_matvec(layer, kind, codes, y)
    values = Tally(
        values=accumulators.size + 1,
        mismatches=int((product.accumulators != accumulators).sum() + (product.absmax != absmax)))
    if product.repeated:
        return values
    predicted = multiply_cycles(config, placed, y)
    return values + Tally(predicted=predicted, cycle_errors=int(cycles != predicted))
