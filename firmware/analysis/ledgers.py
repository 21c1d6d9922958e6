"""The energy of a token, in ledgers that never mix, and of the board as a whole."""

from ..sim.model.energy import Range, add_energy, coefficient, coefficients, partial_sum_bits


__all__ = ["TABLE", "energy_ledgers", "joules_of"]


TABLE = "45nm"  # of arithmetic: FPGAs of the boards are of 40 and 55 nm
WORD_BITS, EBR_BITS = 9, 36


def energy_ledgers(profile, dimensions, config, *, table, board, context, calibration):
    """{ledger: figures of a token}, in J as low, mid, high, with what each is of and what it leaves out.

    Parameters
    ----------
    profile : setun.analysis.profile.Profile
    dimensions : setun.analysis.models.Dimensions
    config : hdl.config.Config
    table : str
        Of sim.model.energy.arithmetic_tables.
    board : hdl.boards.board.Board | None
        Whose device's static power is counted over the time of a token end to end, where energy.yaml has it; its
        switching is the iCE40's, or else the ECP5's.
    context : int
        Tokens that attention looks back on, for the papers' formula.
    calibration : setun.analysis.calibration.Board | None
        Adds the ledger of a board that was measured.
    """
    device = board.device if board else None
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
    seconds = profile.seconds_per_token
    cycles = seconds * profile.clock  # the clock goes on while the link binds
    reads = beats * config.banks * -(-config.tiles * WORD_BITS // EBR_BITS) + beats * config.banks
    memory = {"block RAM reads of weights and lists": coefficient("memory", "block_ram")[0] * reads}
    streamed = profile.bytes_per_token()["weights"]
    if streamed and profile.memory.external:
        memory[f"{profile.memory.kind}: {streamed:,.0f} bytes of weights"] = (
            coefficient("memory", profile.memory.kind)[0] * streamed)
    link = profile.link_per_token()
    crossed = link["sent"] + link["received"] if link else 0
    if link:
        memory[f"link: {crossed:,.0f} bytes over its pins"] = coefficient("memory", "pins")[0] * crossed
    static = device in coefficients()["static"]
    if static:
        memory[f"static power of {device} for {seconds * 1e3:.3g} ms"] = coefficient("static", device)[0] * seconds
    kind = "ice40up5k" if device and device.startswith("iCE40") else "ecp5"
    toggle, each = coefficient("switching", kind, "toggle")[0], coefficient("switching", kind, "cycle")[0]
    switching = {"products": listed * coefficient("toggles", "product")[0] * toggle,
                 "control": cycles * coefficient("toggles", "cycle")[0] * toggle,
                 **({"link": crossed * coefficient("toggles", "link_byte")[0] * toggle} if link else {}),
                 "clock": each * cycles}
    ledgers = {
        "arithmetic": _ledger(arithmetic, headline=ours, tier="table", source=f"{table} tables",
                              excludes="memory, clock, control; attention, norms and head"),
        "memory": _ledger(memory, headline=sum(memory.values(), Range(0, 0, 0)), tier="modelled",
                          source=device if static else f"{device or 'no device'}: static power left out",
                          excludes="switching of logic; the host; attention, norms and head"),
        "switching": _ledger(switching, headline=sum(switching.values(), Range(0, 0, 0)), tier="modelled",
                             source=f"{kind}, counters times the toggles of setun switching",
                             excludes="glitches, memories, pins and static power; attention, norms and head"),
    }
    if calibration:
        measured = {"static power": calibration.static.range * seconds,
                    "clock": calibration.cycle.range * cycles,
                    "products": calibration.product.range * listed}
        ledgers["board"] = _ledger(measured, headline=sum(measured.values(), Range(0, 0, 0)), tier="calibrated",
                                   source=calibration.board, excludes="what the readings had no part of; the host")
    return ledgers


def _ledger(parts, *, headline, tier, source, excludes):
    return {**headline._asdict(), "unit": "J", "tier": tier, "of": source, "excludes": excludes,
            "parts": {name: value._asdict() for name, value in parts.items()}}


def joules_of(energy, board):
    """Energy of a token for the board as a whole, fields of Profile's ``joules_per_token``, or None.

    The calibrated ledger where there is one. Else memory and switching together, the two that split what the board
    takes: static power, block RAM, memory and pins in one, logic and clock in the other; None without a board, or where
    its static power is not known. Arithmetic is no part of it: it is what the operations would take elsewhere.
    """
    if "board" in energy:
        ledger = energy["board"]
        return {**{name: ledger[name] for name in (*Range._fields, "tier")}, "of": f"{ledger['of']}, as measured"}
    if not board or board.device not in coefficients()["static"]:
        return None
    total = sum((Range(*(energy[name][part] for part in Range._fields)) for name in ("memory", "switching")),
                Range(0, 0, 0))
    return {**total._asdict(), "tier": "modelled", "of": f"{board.name}: the memory and the switching ledger"}
