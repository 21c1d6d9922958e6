"""Reads how a config.json scales its rotary embeddings."""

from .model_file import LIMIT, refuse


__all__ = ["AS_TRAINED", "PLAIN_AT_ONE", "SUPPORTED", "number", "read_rope"]


AS_TRAINED = "correct it as it was in training"
SUPPORTED = "use a model with plain rotary embeddings, or with linear or llama3 scaling"
PLAIN_AT_ONE = ("default", "linear", "dynamic", "yarn", "llama3")  # change nothing with a factor of 1
COMPANIONS = {"attention_factor": 1, "partial_rotary_factor": 1}  # of scaling, and the value that changes nothing


def number(path, field, value):
    """A positive number below 2**31. Raises CheckpointError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < LIMIT:
        refuse(path, field, f"{str(value)[:40]!r} is no positive number below 2**31", AS_TRAINED)
    return value


def _scaling(path, config, key, fields):
    """(factor, bands) of golden.rotary.Rope."""
    kind = fields.get("rope_type") or fields.get("type") or "default"
    factor = fields.get("factor")
    if factor is not None or kind != "default":
        factor = number(path, f"{key}.factor", factor)
    if kind in PLAIN_AT_ONE and factor in (None, 1):
        return 1.0, None
    for name, plain in COMPANIONS.items():
        if fields.get(name, plain) not in (plain, None):
            refuse(path, f"{key}.{name}", f"{fields[name]!r}", SUPPORTED)
    match kind:
        case "linear":
            return float(factor), None
        case "llama3":
            original = "original_max_position_embeddings"
            low, high, context = (
                number(path, f"{key}.{name}", fields.get(name, config.get(name)))
                for name in ("low_freq_factor", "high_freq_factor", original))
            if not low < high or not isinstance(context, int):
                refuse(path, key, f"low_freq_factor {low}, high_freq_factor {high} and {original} {context} do not go "
                       "together", AS_TRAINED)
            return float(factor), (float(low), float(high), context)
        case _:
            refuse(path, f"{key}.rope_type", f"{kind!r} with factor {factor}", SUPPORTED)


def read_rope(path, config):
    """The fields rope_theta, rope_factor and rope_bands of Architecture, of a config.json. Raises CheckpointError."""
    found = {key: config[key] for key in ("rope_parameters", "rope_scaling") if config.get(key) is not None}
    for key, fields in found.items():
        if not isinstance(fields, dict):
            refuse(path, key, "not an object", AS_TRAINED)
    told = {_scaling(path, config, key, fields) for key, fields in found.items()}
    if len(told) > 1:
        refuse(path, "rope_scaling", "differs from rope_parameters", AS_TRAINED)
    factor, bands = told.pop() if told else (1.0, None)
    theta = found.get("rope_parameters", {}).get("rope_theta", config.get("rope_theta"))
    if theta is None:
        refuse(path, "rope_theta", "missing", "add rope_theta as it was in training")
    return {"rope_theta": float(number(path, "rope_theta", theta)), "rope_factor": factor, "rope_bands": bands}
