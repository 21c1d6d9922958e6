"""Measurements on a simulated accelerator: what the commands report, and what the results table repeats."""

import contextlib
import functools
import time

import numpy as np
from amaranth.sim import Simulator

from ..accelerator import Accelerator
from ..compiler.product import product_image
from ..driver.machine import Damage, Machine
from ..generate import CheckError
from ..golden.closeness import closeness
from ..golden.codes import word_decode, word_encode
from ..golden.decoder import empty_cache, step
from ..golden.fixed import to_fixed
from ..golden.matvec import matvec
from ..golden.reference import forward
from ..golden.scalars import to_float
from ..hdl import machine as rtl
from ..hdl.array.codes import WORD_BITS
from ..sim.model.processor_cycles import cycles_by
from ..sim.rtl.transport import SimulatedTransport


__all__ = ["measure_closeness", "measure_logits", "measure_matvec", "measure_run", "measure_scrub",
           "measure_simulators"]


def measure_matvec(accelerator, w, x, *, progress=lambda description, done, total: None):
    """One ternary matrix-vector product on an accelerator, with zeros skipped, and the cycles that it takes without.

    ``w`` is int8 [M, n] of -1, 0, +1 and ``x`` int8 [n]. Cycles of a matrix that goes through in pieces are those of
    all pieces, without the time in which weights are written. Without skipping they are those of a vector without
    zeros. Returns the accumulators, int32 [M], and the fields of ``setun matvec --json``. Raises what the driver
    raises.
    """
    config, repeated = accelerator.config, accelerator.machine.repeated
    product = accelerator.matvec(w, x, check=False, progress=progress)
    full = np.where(x == 0, np.int8(1), x)
    dense = accelerator.matvec(w, full, check=False, progress=progress)
    wrong = int((product.accumulators != matvec(w, x)).sum() + (dense.accumulators != matvec(w, full)).sum())
    return product.accumulators, {
        "config": config.name,
        "shape": list(w.shape),
        "pieces": product.pieces,
        "cycles": product.cycles,
        "cycles_predicted": product.causes.total(),
        "cycles_dense": dense.cycles,
        "cycles_dense_predicted": dense.causes.total(),
        "repeated": accelerator.machine.repeated - repeated,
        "utilisation": int((x != 0).sum()) * len(w) / (product.cycles * config.products),
        "mismatches": wrong,
    }


def measure_run(accelerator, model, prompt, count, *, temperature=0.0, seed=0, check="values", scrub=False,
                progress=lambda description, done, total: None):
    """``count`` tokens after the tokens ``prompt``, or to one that ends the text, from an accelerator.

    ``model`` is a setun.Model; the other arguments are as of Accelerator.generate. Returns the Generation and the
    fields of ``setun run --json`` that are measured. Raises TooLarge, and what the driver raises.
    """
    generation = accelerator.generate(model, prompt, tokens=count, temperature=temperature, seed=seed, check=check,
                                      scrub=scrub, progress=progress)
    machine = accelerator.machine
    before, start, cycles, predicted = machine.traffic, time.perf_counter(), [], []
    repeated = machine.repeated
    with contextlib.suppress(CheckError):  # what differs is counted
        for token in generation:
            cycles.append(token.cycles)
            predicted.append(token.predicted)
            progress("generating", len(generation.ids), count)
    seconds, traffic = time.perf_counter() - start, np.subtract(machine.traffic, before)
    steps = len(prompt) + len(generation.ids) - 1
    simulated = getattr(accelerator.transport, "cycles_per_second", None)
    causes = cycles_by("cause", generation.causes)
    return generation, {
        "config": accelerator.config.name,
        "products": accelerator.config.products,
        "tokens": len(generation.ids),
        "prompt_token_ids": list(prompt),
        "token_ids": generation.ids,
        "checked": check,
        "values_compared": generation.values,
        "mismatches": generation.mismatches,
        "cycle_errors": generation.cycle_errors,
        "repeated": machine.repeated - repeated,
        "cycles": generation.cycles,
        "cycles_per_step": generation.cycles / steps,
        **({"cycles_per_token": cycles, "cycles_per_prompt_token": generation.prompt_cycles}
           if check == "values" else {}),
        **({"cycles_predicted": predicted, "cycles_by_cause": dict(causes), "saturations": generation.saturations}
           if check != "none" else {}),
        "seconds_per_step": seconds / steps,
        "link_bytes_per_token": float((traffic[0] + traffic[1]) / steps),
        "link_per_token": dict(zip(before._fields, (traffic / steps).tolist())),
        **({"damages": [damage._asdict() for damage in generation.damages]} if scrub else {}),
        **({"simulated_cycles_per_second": simulated} if simulated else {}),
    }


def measure_logits(checkpoint, tokens, numerics, *, progress=lambda description, done, total: None):
    """Logits behind each token, float [B, T, V]: of the "integer" golden model, or of the "float" reference."""
    if numerics == "float":
        progress("float32 reference", 0, None)
        return forward(checkpoint, tokens)
    model = to_fixed(checkpoint)
    cache, logits = empty_cache(model, len(tokens)), np.empty((*tokens.shape, model.vocab))
    for position, column in enumerate(tokens.T):
        values, scale, cache = step(model, column, position, cache)
        logits[:, position] = values * to_float(scale)[..., None]
        progress("integer model", position + 1, tokens.shape[1])
    return logits


def measure_closeness(checkpoint, data, windows, length, *, progress=lambda description, done, total: None):
    """The integer golden model against the float32 reference on ``windows`` stretches of ``data``, int [bytes]."""
    tokens = data[:windows * length].reshape(windows, length)
    targets = data[1:windows * length + 1].reshape(windows, length)
    reference, logits = (measure_logits(checkpoint, tokens, numerics, progress=progress)
                         for numerics in ("float", "integer"))
    measured = closeness(logits, reference, targets)
    return {"bytes": windows * length, "loss": measured.loss, "loss_float": measured.reference_loss,
            "loss_delta": measured.loss - measured.reference_loss, "kl": measured.divergence,
            "argmax_agreement": measured.agreement}


def measure_scrub(config, flips, seed=0, *, progress=lambda description, done, total: None):
    """Scrubs of memories full of random weights, in which single bits are flipped, one before each scrub.

    Returns {"weights", "cycles": of a scrub that finds nothing, "found": flips that were found where they are, and
    repaired, "spare": flips that change no weight, "missed": all others}.
    """
    rng = np.random.default_rng(seed)
    w = rng.integers(-1, 2, (config.depth // 4 * config.rows, 4 * config.banks), np.int8)
    image = product_image(w, np.ones(w.shape[1], np.int8), config)
    with contextlib.closing(SimulatedTransport(config)) as transport:
        machine = Machine(transport, config)
        machine.load(image, functools.partial(progress, "loading weights"))
        codes, start = word_encode(image.weights), transport.cycles
        missed = len(machine.scrub(image))
        cycles, found, spare = transport.cycles - start, 0, 0
        for flip in range(flips):
            address, bank, tile = rng.integers(0, codes.shape).tolist()
            bit, code = int(rng.integers(WORD_BITS)), codes[address, bank, tile]
            changes = (word_decode(code ^ 1 << bit) != word_decode(code)).any()
            transport.flip(bank, tile, address, bit)
            damages = machine.scrub(image)
            if not damages:
                transport.flip(bank, tile, address, bit)
            found += damages == [Damage("weights", address, bank, tile)]
            spare += not changes and not damages
            progress("scrubbing", flip + 1, flips)
    return {"weights": w.size, "cycles": cycles, "found": found, "spare": spare,
            "missed": missed + flips - found - spare}


def measure_simulators(config, w, x, *, cycles=400):
    """Cycles a second of the compiled simulator and of Amaranth's, one after the other, on the same machine.

    The compiled one multiplies ``w`` and ``x``, Amaranth's runs ``cycles`` cycles of the same design.
    """
    with Accelerator(SimulatedTransport(config), config) as accelerator:
        accelerator.matvec(w, x)
        compiled = accelerator.transport.cycles_per_second

    top = rtl.Machine(config)
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    seconds = 0.0

    async def bench(ctx):
        nonlocal seconds
        ctx.set(top.i.valid, 1)
        await ctx.tick()
        start = time.perf_counter()
        await ctx.tick().repeat(cycles)
        seconds = time.perf_counter() - start

    simulator.add_testbench(bench)
    simulator.run()
    return {"compiled": compiled, "amaranth": cycles / seconds, "ratio": compiled * seconds / cycles}
