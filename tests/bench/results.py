"""The results table, ``make results``: measured now, or before on the same RTL by a command that takes long."""

import json
import pathlib

import numpy as np

from setun.accelerator import simulate
from setun.analysis.cases import all_cases, run_cases
from setun.analysis.ledgers import TABLE
from setun.analysis.mac import mac_runs, ratio
from setun.analysis.measure import measure_closeness, measure_matvec, measure_run, measure_scrub, measure_simulators
from setun.analysis.paper import paper_rows
from setun.analysis.profile import compare, profiler
from setun.analysis.switching import FACTOR, fit, real_runs, residual, training_runs
from setun.cli.console import progress
from setun.cli.options import DEMO
from setun.cli.profile import joules_text
from setun.formats.checkpoint import load
from setun.formats.model import load as load_model
from setun.hdl.build.area import array_area
from setun.hdl.build.cache import digest
from setun.hdl.build.toolchain import build_folder
from setun.hdl.build.verilog import sources
from setun.hdl.config import PRESETS, Config
from setun.hdl.technology.ecp5 import ECP5, FAMILY
from setun.hdl.technology.product import PORTABLE
from setun.sim.netlist.liberty import DEFAULT_LIBERTY, read_library


__all__ = ["RESULTS", "replace_table", "results_table"]


RESULTS = pathlib.Path(__file__).parents[2] / "docs" / "results.md"
BEGIN, END = "<!-- setun results -->", "<!-- end -->"
PROMPT, TOKENS = b"In the beginning", 32
WINDOWS, LENGTH = 16, 256
FLIPS = 200
SCRUBBED = Config(banks=4, tiles=2, depth=256, results=256, elements=256, scalars=16, instructions=16)
# The best of others' cores and a prototype's, by yosys 0.70.
PEER_LUTS, PEER_PROTOTYPE = 47.7, 17.8
SWITCHING_PROMPT = b"In the"


def ternary(rng, rows, columns):
    """A matrix with a third of zeros, and none of its rows and columns dead."""
    w = rng.integers(-1, 2, (rows, columns), np.int8)
    w[np.arange(max(rows, columns)) % rows, np.arange(max(rows, columns)) % columns] = 1
    return w


def area_rows():
    config = PRESETS["8x20"]
    for name, technology in (("ECP5 carry chains", ECP5), ("portable", PORTABLE)):
        area = array_area(config, technology)
        yield (f"area of the array of 8 x 20, {name}",
               f"{area.luts / config.products:.2f} LUT a product ({area.luts:,} LUT, {area.flip_flops:,} FF, "
               f"{area.block_rams} block RAM, {area.multipliers} DSP)",
               f"best open core {PEER_LUTS}, prototype {PEER_PROTOTYPE}" if technology is ECP5 else "")


def profile_rows():
    """The demo on each board, end to end: ``setun profile demo --board all``."""
    found = compare(profiler(load_model("demo")), table=TABLE, context=None, calibration=None)
    for name, profile in found.items():
        supposed = f", hypothetical: {profile.hypothetical}" if profile.hypothetical else ""
        over = profile.cycles_per_token / profile.ideal_cycles
        yield (f"`setun profile demo --board {name}`, mean of positions 1 to {profile.context}{supposed}",
               f"{profile.speed} tokens a second at {profile.clock / 1e6:g} MHz, {profile.cycles_per_token:,.0f} "
               f"cycles, {over:.2f} times the ideal (exact cycles); energy of a token {joules_text(profile)} "
               "(modelled)", "")


def run_rows(progress):
    model = load_model("demo")
    for name in ("16x20", "24x40"):  # that hold it
        with simulate(name) as device:
            _, fields = measure_run(device, model, list(PROMPT), TOKENS, progress=progress)
        yield (f"{TOKENS} tokens of the demo on {name}, whole tokens",
               f"{fields['mismatches']} of {fields['values_compared']:,} values and {fields['cycle_errors']} counts of "
               "cycles differ from the models", "")
        yield (f"one token of the demo on {name}, mean of positions 1 to {len(PROMPT) + TOKENS - 1}",
               f"{fields['cycles_per_step']:,.0f} cycles from embedding to argmax; "
               f"{fields['seconds_per_step']:.2f} s to simulate and compare", "")


def matvec_rows(progress):
    rng = np.random.default_rng(1958)
    with simulate("24x40") as device:
        for rows, columns, zeros in ((1280, 512, 0), (2560, 2560, 0), (2560, 6912, .7)):
            w, x = ternary(rng, rows, columns), rng.integers(1, 128, columns).astype(np.int8)
            x[rng.random(columns) < zeros] = 0
            _, fields = measure_matvec(device, w, x, progress=progress)
            yield (f"{rows} x {columns} on 24x40 in {fields['pieces']} pieces, {zeros:.0%} zero activations",
                   f"{fields['cycles']:,} cycles ({fields['cycles'] - fields['cycles_predicted']:+d} of predicted), "
                   + (f"{fields['cycles_dense'] / fields['cycles']:.2f} times faster than dense" if zeros else
                      f"utilisation {fields['utilisation']:.2%}") + f", {fields['mismatches']} values differ", "")
    w, x = ternary(rng, 1280, 512), rng.integers(-128, 128, 512).astype(np.int8)
    speed = measure_simulators(PRESETS["16x20"], w, x)
    yield ("simulating the machine of 16 x 20", f"{speed['compiled']:,.0f} cycles a second, {speed['ratio']:,.0f} "
           "times Amaranth's simulator in the same run", "")


def scrub_rows(progress):
    found = measure_scrub(SCRUBBED, FLIPS, progress=progress)
    yield (f"scrub of {found['weights']:,} weights, read back as products with one",
           f"{found['cycles']:,} cycles; of {FLIPS} flipped bits {found['found']} are found where they are and "
           f"repaired, {found['spare']} change no weight, {found['missed']} are missed", "")


def cycle_rows(progress):
    found = list(run_cases(all_cases(), progress))
    wrong = sum(predicted.total() != measured or values > 0 for _, predicted, measured, values in found)
    cycles = sum(measured for *_, measured, _ in found)
    yield ("`setun cycles`: products, cycle model against RTL, shapes of all named models and random ones",
           f"{wrong} of {len(found)} cases differ, of {cycles:,} cycles", "")


def paper_summary():
    rows = list(paper_rows())
    known = [abs(row.deviation) for row in rows if not row.why]
    explained = ", ".join(f"{row.name} {row.deviation:+.1%}" for row in rows if row.why)
    yield ("figures of the BitNet papers by our formulas", f"{len(known)} of {len(rows)} within {max(known):.1%}",
           f"explained in setun paper: {explained}")


def switching_rows(checkpoint, progress):
    library = read_library(DEFAULT_LIBERTY)
    macs = list(mac_runs(checkpoint, SWITCHING_PROMPT, DEFAULT_LIBERTY, progress))
    times, energy = ratio(macs), [run.measured.energy.text() for run in (macs[0], macs[-1])]
    yield (f"multiply-accumulate in {library.name}, {library.voltage:g} V, activations of the demo (modelled, without "
           "wires)", f"ternary {energy[0]}, int8 {energy[1]}: {times.mid:.1f} [{times.low:.1f}-{times.high:.1f}] times",
           "")
    progress("toggles of the netlist", 0, None)
    off = residual(fit(training_runs(FAMILY)), real_runs(FAMILY, checkpoint, SWITCHING_PROMPT))
    yield ("`setun switching`: toggles predicted from the work of a token against those of the netlist, ECP5, a layer "
           "of the demo",
           f"within a factor of {off:.2f}", f"at most {FACTOR}, stated before")


def _measured(path):
    """What a command wrote there, {} where there is nothing or it is about other RTL."""
    found = json.loads(path.read_text()) if path.exists() else {}
    return found if found.get("sources") == digest(sources()) else {}


def soak_rows(path):
    """What ``make soak`` wrote there."""
    for outcome in _measured(path).get("outcomes", ()):
        yield (f"`make soak`: {outcome['done']:,} {outcome['what']}", f"{outcome['differences']} differences", "")


def coverage_rows(path):
    """What ``make coverage`` wrote there."""
    if found := _measured(path):
        parts = ["{:,} of {:,} {}".format(*found["totals"][name], name) for name in ("bins", "lines", "toggles")]
        yield (f"`make coverage`: random stimulus until a functional model of the machine is closed, "
               f"{found['config']['name']}", f"{', '.join(parts)} in {found['cycles']:,} cycles", "")


def proof_rows(path):
    """What ``make formal`` wrote there."""
    if found := _measured(path):
        (proved, proofs), (refuted, faults) = (found["counts"][kind] for kind in ("proved", "refuted"))
        yield ("`make formal`: proofs by yosys and z3", f"{proved} of {proofs} hold, in {found['seconds']:.0f} s with "
               "the next", "")
        yield "`make formal`: designs with a fault, whose proofs must fail", f"{refuted} of {faults} are refuted", ""


def mutants_rows(path):
    """What ``make mutants`` wrote there."""
    if found := _measured(path):
        mutants, killed, equivalent, alive = (found["totals"][name] for name in (
            "mutants", "killed", "equivalent", "alive"))
        yield (f"`make mutants`: changes of one place of {found['config']['name']} by yosys' generator, seed "
               f"{found['seed']}, under the test bench of the whole machine",
               f"{killed:,} of {mutants:,} noticed, {equivalent} argued to be equivalent, {alive} not noticed: "
               f"{killed / (mutants - equivalent):.1%} of the others", "at least 95%")


def results_table(checkpoint, held_out, *, progress):
    """Markdown. ``held_out`` is text that the model was not trained on, bytes."""
    data = np.frombuffer(held_out, np.uint8).astype(np.int64)
    close = measure_closeness(checkpoint, data, WINDOWS, LENGTH, progress=progress)
    rows = [
        *profile_rows(),
        *run_rows(progress),
        *matvec_rows(progress),
        ("integer model against float32, held-out text",
         f"loss {close['loss']:.4f} against {close['loss_float']:.4f} nats a byte, KL {close['kl']:.1e}, argmax "
         f"{close['argmax_agreement']:.1%} equal", "bf16: KL 2.6e-3, argmax 95.3%"),
    ]
    rows += [*scrub_rows(progress), *cycle_rows(progress), *paper_summary(), *switching_rows(checkpoint, progress),
             *coverage_rows(build_folder() / "coverage" / "coverage.json"),
             *proof_rows(build_folder() / "formal.json"), *mutants_rows(build_folder() / "mutants.json"),
             *soak_rows(build_folder() / "soak.json")]
    progress("synthesising", 0, None)
    rows += area_rows()
    return "\n".join(["| what | measured | to compare |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def replace_table(text, table):
    """``text`` with the table between its marks replaced. Raises ValueError where there are no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"has no place for the results: put {BEGIN} and {END} where they belong")
    return f"{before}{begin}\n{table}\n{end}{after}"


def main():
    """Measure all figures again and rewrite the table of docs/results.md."""
    with progress() as report:
        table = results_table(load(DEMO), (DEMO / "held_out.txt").read_bytes(), progress=report)
    RESULTS.write_text(replace_table(RESULTS.read_text(), table))
    print(table)


if __name__ == "__main__":
    main()
