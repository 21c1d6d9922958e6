"""Reads how a GGUF scales its rotary embeddings: by fields, or by a tensor of factors."""

import numpy as np

from ..golden.rotary import Rope, frequencies
from .model_file import refuse
from .rope_scaling import AS_TRAINED, PLAIN_AT_ONE, SUPPORTED, number


__all__ = ["BANDS", "FREQUENCIES", "FREQ_BASE", "frequency_factors", "read_gguf_rope"]


FREQUENCIES = "rope_freqs.weight"  # what the frequency of each pair is divided by
FREQ_BASE = 10000.0  # where the file names none
BANDS, CONTEXTS = (1.0, 4.0), (8192,)  # of Llama 3's scaling: the factors do not tell them apart from others
CLOSE = 1e-5  # relative: factors are float32


def frequency_factors(rope, head_dim):  # -> float32 [head_dim / 2]
    """What Llama 3's scaling divides the frequencies by; all 1 for a plain embedding."""
    return (frequencies(Rope(rope.theta), head_dim) / frequencies(rope, head_dim)).astype(np.float32)


def read_gguf_rope(path, family, fields, head_dim, factors):
    """The fields rope_theta, rope_factor and rope_bands of Architecture, as a GGUF gives them.

    ``fields`` are those of the file, and ``factors`` its tensor FREQUENCIES, float32, or None. Raises CheckpointError.
    """
    base = f"{family}.rope.freq_base"
    theta = float(str(np.float32(number(path, base, fields.get(base, FREQ_BASE)))))
    kind, factor, bands = fields.get(f"{family}.rope.scaling.type", "linear"), 1.0, None
    for key in (f"{family}.rope.scale_linear", f"{family}.rope.scaling.factor"):  # the second is the newer one
        if fields.get(key):
            factor = float(number(path, key, fields[key]))
            if kind != "none" and factor != 1 and (kind != "linear" or factors is not None):
                refuse(path, key, f"{factor} with scaling of type {kind!r}", SUPPORTED)
    if kind not in (*PLAIN_AT_ONE, "none"):
        refuse(path, f"{family}.rope.scaling.type", repr(kind), SUPPORTED)
    if kind == "none":
        factor = 1.0
    if factors is not None and (factors != 1).any():
        factor, bands = _llama3(path, theta, head_dim, factors,
                                fields.get(f"{family}.rope.scaling.original_context_length"))
    return {"rope_theta": theta, "rope_factor": factor, "rope_bands": bands}


def _llama3(path, theta, head_dim, factors, context):
    """factor and bands of Llama 3's scaling that make these factors."""
    if factors.shape != (head_dim // 2,):
        refuse(path, FREQUENCIES, f"{list(factors.shape)} factors for {head_dim // 2} pairs", AS_TRAINED)
    largest = float(factors.max())
    for original in (*CONTEXTS, *([context] if type(context) is int and context > 0 else [])):
        rope = Rope(theta, largest, (*BANDS, original))
        if largest > 1 and np.allclose(frequency_factors(rope, head_dim), factors, rtol=CLOSE, atol=0):
            return largest, rope.bands
    refuse(path, FREQUENCIES, "the factors are not those of Llama 3's scaling", SUPPORTED)
