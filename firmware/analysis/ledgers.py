"""The energy of a token, in ledgers that never mix."""

from ..sim.model.energy import Range, add_energy, coefficient, coefficients, partial_sum_bits


__all__ = ["energy_ledgers"]


WORD_BITS, EBR_BITS = 9, 36


def energy_ledgers(profile, dimensions, config, *, table, device, context, calibration):
    """{ledger: figures of a token}, in J as low, mid, high, with what each is of and what it leaves out.

    Parameters
    ----------
    profile : firmware.analysis.profile.Profile
    dimensions : firmware.analysis.models.Dimensions
    config : hdl.config.Config
    table : str
        Of sim.model.energy.arithmetic_tables.
    device : str | None
        Whose static power is counted, where energy.yaml has it; its switching is the iCE40's, or else the ECP5's.
    context : int
        Tokens that attention looks back on, for the papers' formula.
    calibration : firmware.analysis.calibration.Board | None
        Adds the ledger of a board that was measured.
    """
    layers = profile.layers
    macs = sum(layer.layers * layer.products for layer in layers)
    listed = sum(layer.layers * layer.listed for layer in layers)
    beats = profile.cycles_by_cause()["issue"]
    operations = {name: coefficient("arithmetic", table, name)[0]
                  for name in ("int8_add", "int32_add", "int8_multiply", "fp16_add", "fp16_multiply")}
    fp16 = operations["fp16_add"] + operations["fp16_multiply"]
    tree = sum((add_energy(table, bits) for bits in partial_sum_bits(config.banks)), Range(0, 0, 0))
    ours = tree * (listed / config.banks) + add_energy(table, config.accumulator_bits) * (beats * config.rows)
    attention = fp16 * (2 * context * dimensions.layers * dimensions.queries)
    arithmetic = {
        "ternary, additions at their real width, zeros skipped": ours,
        "ternary, an int8 addition a weight as in arXiv 2402.17764": operations["int8_add"] * macs,
        "int8 multiplications and int32 additions": (operations["int8_multiply"] + operations["int32_add"]) * macs,
        "fp16 multiplications and additions": fp16 * macs,
        f"attention over {context} tokens in fp16, not part of these": attention,
    }
    seconds = profile.cycles_per_token / profile.clock
    reads = beats * config.banks * -(-config.tiles * WORD_BITS // EBR_BITS) + beats * config.banks
    memory = {"block RAM reads of weights and lists": coefficient("memory", "block_ram")[0] * reads}
    streamed = profile.bytes_per_token()["weights"]
    if streamed:
        kind = "pins" if profile.memory.kind == "link" else profile.memory.kind
        memory[f"{profile.memory.kind}: {streamed:,.0f} bytes of weights"] = coefficient("memory", kind)[0] * streamed
    static = device in coefficients()["static"]
    if static:
        memory[f"static power of {device} for {seconds * 1e3:.3g} ms"] = coefficient("static", device)[0] * seconds
    kind = "ice40up5k" if device and device.startswith("iCE40") else "ecp5"
    toggle, each = coefficient("switching", kind, "toggle")[0], coefficient("switching", kind, "cycle")[0]
    switching = {"products": listed * coefficient("toggles", "product")[0] * toggle,
                 "control": profile.cycles_per_token * coefficient("toggles", "cycle")[0] * toggle,
                 "clock": each * profile.cycles_per_token}
    ledgers = {
        "arithmetic": _ledger(arithmetic, headline=ours, tier="table", source=f"{table} tables",
                              excludes="memory, clock, control; attention, norms and head"),
        "memory": _ledger(memory, headline=sum(memory.values(), Range(0, 0, 0)), tier="modelled",
                          source=device if static else f"{device or 'no device'}: static power left out",
                          excludes="switching of logic; the host; attention, norms and head"),
        "switching": _ledger(switching, headline=sum(switching.values(), Range(0, 0, 0)), tier="modelled",
                             source=f"{kind}, counters times the toggles of setun switching",
                             excludes="glitches, memories, pins and static power; the link; attention, norms and head"),
    }
    if calibration:
        measured = {"static power": calibration.static.range * seconds,
                    "clock": calibration.cycle.range * profile.cycles_per_token,
                    "products": calibration.product.range * listed}
        ledgers["board"] = _ledger(measured, headline=sum(measured.values(), Range(0, 0, 0)), tier="calibrated",
                                   source=calibration.board, excludes="what the readings had no part of; the host")
    return ledgers


def _ledger(parts, *, headline, tier, source, excludes):
    return {**headline._asdict(), "unit": "J", "tier": tier, "of": source, "excludes": excludes,
            "parts": {name: value._asdict() for name, value in parts.items()}}
