"""The energy of a token, in ledgers that never mix, and of the board as a whole."""

from ..hdl.config import TRITS, sum_width
from ..sim.model.energy import Range, add_energy, coefficient, coefficients, partial_sum_bits


__all__ = ["TABLE", "energy_ledgers", "joules_of"]


TABLE = "45nm"  # of arithmetic: FPGAs of the boards are of 40 and 55 nm
WORD_BITS, EBR_BITS = 9, 36
NOTHING = Range(0, 0, 0)


def energy_ledgers(profile, config, *, table, board, calibration):
    """{ledger: figures of a token}, in J as low, mid, high, with what each is of and what it leaves out.

    Parameters
    ----------
    profile : setun.analysis.profile.Profile
    config : Config
    table : str
        Of sim.model.energy.arithmetic_tables.
    board : hdl.boards.board.Board | None
        Whose device's static power is counted over the time of a token end to end, where energy.yaml has it; its
        switching is the iCE40's, or else the ECP5's.
    calibration : setun.analysis.calibration.Board | None
        Adds the ledger of a board that was measured.
    """
    device, work = board.device if board else None, profile.work
    seconds = profile.seconds_per_token
    cycles = seconds * profile.clock  # the clock goes on while weights are waited for
    made = work["ternary products"] + TRITS * work["int8 products"]  # of a trit and an activation that is not 0
    ledgers = {"arithmetic": _arithmetic(profile, config, table, made),
               "memory": _memory(profile, config, device, seconds),
               "switching": _switching(work, device, made, cycles)}
    if calibration:
        ledgers["board"] = _ledger({
            "static power": calibration.static.range * seconds, "clock": calibration.cycle.range * cycles,
            "products": calibration.product.range * made},
            tier="calibrated", source=calibration.board, excludes="what the readings had no part of")
    return ledgers


def _arithmetic(profile, config, table, made):
    """What the operations of the token would take in the table's technology, and those of other machines for it."""
    work = profile.work
    operation = {name: coefficient("arithmetic", table, name)[0]
                 for name in ("int8_add", "int32_add", "int8_multiply", "fp16_add", "fp16_multiply")}
    tree = sum((add_energy(table, bits) for bits in partial_sum_bits(config.banks)), NOTHING)
    weights = profile.parameters
    attention = work["int8 products"]
    # A lane's product of 18 bits is counted as the four of int8 that it is made of, and its addition.
    lanes = (operation["int8_multiply"] * 4 + operation["int32_add"]) * work["lane operations"]
    ours = tree * (made / config.banks) + add_energy(table, sum_width(config.columns)) * (
        work["beats"] * config.rows) + lanes
    parts = {
        "this machine: additions at their real width, zeros skipped, and lanes": ours,
        "of it norms, softmax and what else the lanes do": lanes,
        "ternary weights, an int8 addition each as in arXiv 2402.17764": operation["int8_add"] * weights,
        "int8 weights: multiplications and int32 additions, of attention too":
            (operation["int8_multiply"] + operation["int32_add"]) * (weights + attention),
        "fp16 weights: multiplications and additions, of attention too":
            (operation["fp16_add"] + operation["fp16_multiply"]) * (weights + attention),
    }
    return _ledger(parts, headline=ours, tier="table", source=f"{table} tables", excludes="memory, clock and control")


def _memory(profile, config, device, seconds):
    work = profile.work
    weights = work["beats"] * config.banks * -(-config.tiles * WORD_BITS // EBR_BITS)
    parts = {"block RAM reads of weights": coefficient("memory", "block_ram")[0] * weights,
             "block RAM reads and writes of lanes": coefficient("memory", "block_ram")[0] * 3 * work["lane operations"]}
    if profile.streamed_bytes and profile.memory.kind != "link":
        parts[f"{profile.memory.kind}: {profile.streamed_bytes:,.0f} bytes of weights"] = (
            coefficient("memory", profile.memory.kind)[0] * profile.streamed_bytes)
    elif profile.streamed_bytes:
        parts[f"link: {profile.streamed_bytes:,.0f} bytes over its pins"] = (
            coefficient("memory", "pins")[0] * profile.streamed_bytes)
    static = device in coefficients()["static"]
    if static:
        parts[f"static power of {device} for {seconds * 1e3:.3g} ms"] = coefficient("static", device)[0] * seconds
    return _ledger(parts, tier="modelled", excludes="switching of logic",
                   source=device if static else f"{device or 'no device'}: static power left out")


def _switching(work, device, made, cycles):
    kind = "ice40up5k" if device and device.startswith("iCE40") else "ecp5"
    toggle, each = coefficient("switching", kind, "toggle")[0], coefficient("switching", kind, "cycle")[0]
    parts = {name: number * coefficient("toggles", event)[0] * toggle for name, event, number in (
        ("products", "product", made), ("lanes", "lane_operation", work["lane operations"]),
        ("control", "cycle", cycles))}
    return _ledger({**parts, "clock": each * cycles}, tier="modelled",
                   source=f"{kind}, work times the toggles of setun switching",
                   excludes="glitches, memories, pins and static power")


def _ledger(parts, *, tier, source, excludes, headline=None):
    headline = headline or sum(parts.values(), NOTHING)
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
