"""Measurements on a simulated accelerator: what the commands report, and what the results table repeats."""

import contextlib
import functools
import time

import numpy as np
from amaranth.sim import Simulator

from ..accelerator import Accelerator
from ..compiler.packing import pack, place
from ..driver.device import Damage, Device
from ..formats.model import Model
from ..formats.tokenizer import ByteTokenizer
from ..generate import CheckError, greedy
from ..golden.closeness import closeness
from ..golden.codes import byte_decode, word_decode, word_encode
from ..golden.decoder import empty_cache, step
from ..golden.fixed import to_fixed
from ..golden.matvec import matvec
from ..golden.reference import forward
from ..golden.scalars import to_float
from ..hdl.array.codes import WORD_BITS
from ..hdl.top import Top
from ..sim.model.cycles import array_cycles
from ..sim.rtl.transport import SimulatedTransport


__all__ = ["measure_closeness", "measure_logits", "measure_matvec", "measure_run", "measure_scrub",
           "measure_simulators"]


def measure_matvec(config, w, x, *, transport=None, waveform=None, progress=lambda description, done, total: None):
    """One ternary matrix-vector product on an accelerator, with zeros skipped and without.

    On the simulated one, or on what ``transport`` leads to, which is closed afterwards; ``config`` None is then what it
    is. ``w`` is int8 [M, n] of -1, 0, +1 and ``x`` int8 [n]. Cycles of a matrix that goes through in chunks are those
    of all chunks, without the waits for weights and results between them; ``repeated`` products had frames sent again,
    and theirs may be counted twice. Returns the accumulators, int32 [M], and the fields of ``setun matvec --json``.
    Raises CapacityError, and what setun.driver.device raises.
    """
    with _accelerator(config, transport, waveform) as accelerator:
        config = accelerator.config
        packed = pack(w, config)
        (placed,), resident = place([packed], config)
        device = accelerator.device
        if resident:
            device.load([placed], functools.partial(progress, "loading weights"))
        loading = device.counters()["BYTES_WEIGHTS"]  # a cycle each
        progress("multiplying", 0, None)
        product = device.multiply(placed, x, quantise=False)
        dense = device.multiply(placed, x, quantise=False, skip=False)

    expected = matvec(w, x)
    cycles, cycles_dense = (item.counters["CYCLES_ISSUE"] + item.counters["CYCLES_FLUSH"] for item in (product, dense))
    listed = product.counters["ENTRIES"] * len(packed.rows)
    return product.accumulators, {
        "config": config.name,
        "shape": list(w.shape),
        "chunks": len(placed.chunks),
        "cycles": cycles,
        "cycles_predicted": array_cycles(config, placed, x),
        "cycles_dense": cycles_dense,
        "cycles_dense_predicted": array_cycles(config, placed, x, skip=False),
        "repeated": product.repeated + dense.repeated,
        "cycles_load": loading + product.counters["BYTES_WEIGHTS"],
        "utilisation": listed / (cycles * config.products) if cycles else 0.0,
        "mismatches": int((product.accumulators != expected).sum() + (dense.accumulators != expected).sum()),
    }


@contextlib.contextmanager
def _accelerator(config, transport, waveform):
    """What is at the other end of ``transport``, asked what it is; without one the simulated accelerator, which is not
    built before it is known to be large enough."""
    with Accelerator(transport or SimulatedTransport(config, waveform=waveform), config) as accelerator:
        if transport:
            accelerator.device
        yield accelerator


def measure_run(config, checkpoint, prompt, count, choose=greedy, *, ends=(), check=True, scrub=False, transport=None,
                waveform=None, progress=lambda description, done, total: None):
    """``count`` tokens after the tokens ``prompt``, or to one of ``ends``, with every BitLinear on an accelerator.

    On the simulated one, or on what ``transport`` leads to, which is closed afterwards; ``config`` None is then what it
    is. With ``check`` what it computes is compared with the golden model and the cycle model; with ``scrub`` the
    weights in the memories are compared with those that were loaded after each token, and put right. Returns the
    Generation, with its tallies, and the fields of ``setun run --json`` that are measured. Raises CapacityError, also
    where there is nothing to scrub, and what setun.driver.device raises.
    """
    model = Model("", checkpoint, ByteTokenizer(), tuple(ends))
    with _accelerator(config, transport, waveform) as accelerator:
        generation = accelerator.generate(model, prompt, tokens=count, choose=choose, check=check, scrub=scrub,
                                          progress=progress)
        before, start, cycles, predicted = accelerator.device.traffic, time.perf_counter(), [], []
        with contextlib.suppress(CheckError):  # what differs is in the tallies
            for token in generation:
                cycles.append(token.cycles)
                predicted.append(token.predicted)
                progress("generating", len(cycles), count)
        seconds, traffic = time.perf_counter() - start, np.subtract(accelerator.device.traffic, before)
        config = accelerator.config
        simulated = {} if transport else {"simulated_cycles_per_second": accelerator.transport.cycles_per_second}
    total, steps = generation.total, len(prompt) + len(generation.ids) - 1
    return generation, {
        "config": config.name,
        "products": config.products,
        "tokens": len(generation.ids),
        "token_ids": generation.ids,
        "resident": generation.resident,
        "checked": check,
        "values_compared": total.values,
        "mismatches": total.mismatches,
        "cycle_errors": total.cycle_errors,
        "repeated": total.repeated,
        "saturations": generation.saturations,
        "cycles_per_token": cycles,
        **({"cycles_predicted": predicted} if check else {}),
        "utilisation": total.utilisation,
        "skipped_fraction": total.skipped,
        "seconds_per_step": seconds / steps,
        "link_per_token": dict(zip(before._fields, (traffic / steps).tolist())),
        **({"damages": [damage._asdict() for damage in generation.damages]} if scrub else {}),
        **simulated,
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
    """Scrubs of a memory full of random weights, in which single bits are flipped, one before each scrub.

    ``config`` is not single_port. Returns {"weights", "cycles": of a scrub that finds nothing, "found": flips that were
    found where they are, and repaired, "spare": flips that change no weight, "missed": all others}.
    """
    rng, length = np.random.default_rng(seed), min(config.columns // config.banks, config.depth)
    w = rng.integers(-1, 2, (config.rows * (config.depth // length), length * config.banks), np.int8)
    with contextlib.closing(SimulatedTransport(config)) as transport:
        device, (placed, _) = Device(transport, config), place([pack(w, config)], config)
        device.load(placed, functools.partial(progress, "loading weights"))
        codes = placed[0].packed.weights.reshape(-1, config.banks, config.tiles)
        start = transport.cycles
        missed = len(device.scrub(placed))
        cycles, found, spare = transport.cycles - start, 0, 0
        for flip in range(flips):
            address, bank, tile = rng.integers(0, codes.shape).tolist()
            damage, bit = Damage(bank, tile, address), int(rng.integers(WORD_BITS))
            trits = byte_decode(codes[address, bank, tile])
            changes = (word_decode(word_encode(trits) ^ 1 << bit) != trits).any()
            transport.flip(*damage, bit)
            damages = device.scrub(placed)
            if not damages:
                transport.flip(*damage, bit)
            found, spare = found + (damages == [damage]), spare + (not changes and not damages)
            progress("scrubbing", flip + 1, flips)
    return {"weights": w.size, "cycles": cycles, "found": found, "spare": spare,
            "missed": missed + flips - found - spare}


def measure_simulators(config, w, x, *, cycles=400):
    """Cycles a second of the compiled simulator and of Amaranth's, one after the other, on the same machine.

    The compiled one multiplies ``w`` and ``x``, Amaranth's runs ``cycles`` cycles of the same design.
    """
    packed = pack(w, config)
    (placed,), _ = place([packed], config)
    with contextlib.closing(SimulatedTransport(config)) as transport:
        device = Device(transport, config)
        device.load([placed])
        device.multiply(placed, x, quantise=False)
        compiled = transport.cycles_per_second

    top = Top(config)
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
