"""What is in a model file, and what boards it fits on."""

import hashlib

import msgspec
import numpy as np

from ..compiler.hollow import hollow_model
from ..compiler.schedule import outline_model
from ..formats.evidence import doubts
from ..formats.model_file import MATRICES, CheckpointError
from ..hdl.boards import BOARDS
from .models import Dimensions


__all__ = ["boards_of", "inspect"]


MOST_LAYERS = 1024  # more fit no board


def boards_of(architecture):
    """{board: "whole", or what its processor has too little of}, as it is built."""
    dimensions = Dimensions(
        name="", hidden=architecture.hidden, inner=architecture.inner, layers=min(architecture.layers, MOST_LAYERS),
        heads=architecture.heads, kv_heads=architecture.kv_heads, head_dim=architecture.head_dim,
        vocab=architecture.vocab, context=architecture.context, activation=architecture.activation,
        tied=architecture.tied, sub_norms=architecture.sub_norms)
    model = hollow_model(dimensions, dimensions.context)
    return {board.name: "; ".join(outline_model(model, board.config).lacks()) or "whole" for board in BOARDS.values()}


def _inspect_matrix(ternary):
    codes = ternary.codes
    minus, plus = (int(np.count_nonzero(codes == code)) for code in (-1, 1))
    return {"shape": list(codes.shape), "codes_sha256": hashlib.sha256(np.ascontiguousarray(codes)).hexdigest(),
            "scale": ternary.scale,
            "shares": [count / codes.size for count in (minus, codes.size - minus - plus, plus)],
            "dead_rows": int((~codes.any(1)).sum()), "dead_columns": int((~codes.any(0)).sum())}


def _tokenizer_of(model):
    """Whether there is one, or why it cannot be read."""
    try:
        return model.tokenizer is not None
    except CheckpointError as error:
        return str(error)


def inspect(model, progress=lambda description, done, total: None):
    """Fields of ``setun inspect --json``, from reading all matrices of an open model file one by one.

    ``shares`` are of -1, 0 and +1. Dead are rows and columns without any weight but 0, of a matrix and, in ``layers``,
    of all matrices of a layer together. ``tokenizer`` is true, false, or why it is not read; ``ends`` are the tokens
    behind which a text ends. ``taken`` is what the file does not tell, or not for sure, how it was taken, and what
    speaks against that.
    """
    parts, tensors = list(model.tensors()), {}
    shapes = {(layer, name): shape for layer, name, shape in model.architecture.parts()}
    for done, (full, layer, name) in enumerate(parts):
        if name in MATRICES:
            found = _inspect_matrix(model.ternary(layer, name))
        else:
            for _ in model.pieces(layer, name):  # refuses what is no number
                pass
            found = {"shape": list(shapes[layer, name])}
        tensors[full] = {"layer": layer, "name": name, **found}
        progress("reading", done + 1, len(parts))
    layers = [{kind: sum(entry[kind] for entry in tensors.values() if entry["layer"] == layer and kind in entry)
               for kind in ("dead_rows", "dead_columns")} for layer in range(model.architecture.layers)]
    return {"format": model.format, "architecture": msgspec.to_builtins(model.architecture),
            "tokenizer": _tokenizer_of(model), "ends": list(model.ends), "taken": [*model.taken, *doubts(model)],
            "boards": boards_of(model.architecture), "tensors": tensors, "layers": layers}
