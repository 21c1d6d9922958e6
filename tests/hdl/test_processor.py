"""Programs on the processor's RTL: every memory afterwards is the reference machine's."""

import numpy as np
import pytest

from setun.compiler.schedule import compile_model
from setun.golden.codes import word_encode
from setun.golden.fixed import to_fixed
from setun.hdl.instructions import SCALAR_BITS, Geometry, encode
from setun.hdl.processor import HOST_LATENCY, Processor, Space
from setun.sim.model.processor import Processor as Reference
from setun.sim.verify.streams import simulate
from tests.support.checkpoints import random_checkpoint


async def load(ctx, processor, image):
    """Write an image, word by word."""
    async def write(space, address, data, lane=0, bank=0):
        ctx.set(processor.i_host, {"valid": 1, "space": space, "bank": bank, "lane": lane, "address": address,
                                   "data": data})
        await ctx.tick()

    codes = word_encode(image.weights)
    for address, bank, tile in np.ndindex(codes.shape):
        await write(Space.WEIGHTS, address, int(codes[address, bank, tile]), tile, bank)
    for space, memory in ((Space.RESULTS, image.results), (Space.ELEMENTS, image.elements)):
        for address, lane in zip(*np.nonzero(memory)):
            await write(space, int(address), int(memory[address, lane]) & (1 << 18) - 1, int(lane))
    for address, (mantissa, exponent) in enumerate(image.scalars):
        if mantissa:
            await write(Space.SCALARS, address, mantissa | (exponent & (1 << SCALAR_BITS[1]) - 1) << SCALAR_BITS[0])
    for address, instruction in enumerate(image.program):
        await write(Space.PROGRAM, address, encode(instruction, image.geometry))
    ctx.set(processor.i_host.valid, 0)
    ctx.set(processor.last_token, image.vocabulary - 1)
    await ctx.tick().repeat(4)


async def step(ctx, processor, token, position):
    """The next token, and the cycles it took."""
    ctx.set(processor.i_token, token)
    ctx.set(processor.i_position, position)
    ctx.set(processor.start, 1)
    await ctx.tick()
    ctx.set(processor.start, 0)
    cycles = 1
    while not ctx.get(processor.done):
        await ctx.tick()
        cycles += 1
        assert cycles < 100_000
    found = ctx.get(processor.o_token)
    await ctx.tick()
    return found, cycles


async def read(ctx, processor, space, address, lane):
    """A word of a lane's memory."""
    ctx.set(processor.i_host, {"valid": 0, "space": space, "bank": 0, "lane": lane, "address": address, "data": 0})
    await ctx.tick().repeat(HOST_LATENCY)
    word = ctx.get(processor.o_host) & (1 << 18) - 1
    return word - (word >> 17 << 18)


CASES = {  # arguments of random_checkpoint, banks and tiles
    "squared ReLU": ({"heads": 2, "kv_heads": 1, "head_dim": 8, "hidden": 12, "inner": 20}, 4, 2),
    "SiLU without sub-norms": ({"heads": 3, "kv_heads": 3, "head_dim": 6, "hidden": 14, "inner": 18, "tied": False,
                                "activation": "silu", "sub_norms": False}, 6, 3),
    "one lane": ({"heads": 2, "kv_heads": 2, "head_dim": 4, "hidden": 10, "inner": 12, "layers": 1}, 4, 1),
    "wide heads": ({"heads": 4, "kv_heads": 2, "head_dim": 10, "hidden": 16, "inner": 28, "layers": 1}, 4, 4),
}


@pytest.mark.parametrize("case", CASES)
def test_tokens(case):
    """Every token and all its logits are those of the reference machine."""
    structure, banks, tiles = CASES[case]
    checkpoint = random_checkpoint(vocab=41, context=9, **structure)
    geometry = Geometry(banks=banks, tiles=tiles, depth=512, results=256, elements=256, scalars=256, instructions=256,
                        silu=checkpoint.activation == "silu")
    image = compile_model(to_fixed(checkpoint), geometry)
    reference = Reference(image)
    processor = Processor(geometry, vocabulary=checkpoint.vocab, context=checkpoint.context)
    address, words = image.map.elements["logits"]

    async def drive(ctx):
        await load(ctx, processor, image)
        for position, token in enumerate([5, 0, 40, 5, 17, 3, 29, 8, 8]):
            found, _ = await step(ctx, processor, token, position)
            assert found == reference.step(token, position)
            logits = [await read(ctx, processor, Space.ELEMENTS, address + word, lane)
                      for word in range(words) for lane in range(tiles)]
            assert logits[:checkpoint.vocab] == reference.logits.tolist()

    simulate(processor, drive, cycles=1_000_000)
