"""How a product is cut into commands, and which of them are exchanged together: sizes only, no values."""

from typing import NamedTuple

from ..hdl.protocol import (
    ACCUMULATOR_BYTES,
    MAX_PAYLOAD,
    WINDOW_FRAMES,
    Kind,
    Register,
    RunLayout,
    SpanLayout,
    VectorLayout,
    WeightsLayout,
)
from .link import window


__all__ = ["Command", "product_exchanges", "result_pieces", "vector_pieces", "weight_pieces"]


ELEMENT_BYTES = 4  # of a vector that the device quantises
REGISTER_BYTES = 4


class Command(NamedTuple):
    """A command of a product."""
    kind: Kind
    payload: int  # bytes of it
    reply: int  # bytes of the payload that answers it
    chunk: int = 0  # of the matrix, to which it belongs


def _pieces(count, most):
    return ((first, min(most, count - first)) for first in range(0, count, most))


def vector_pieces(length, size=ELEMENT_BYTES):
    """(offset, elements) of each VECTOR that sends ``length`` elements of ``size`` bytes."""
    return _pieces(length, (MAX_PAYLOAD - VectorLayout.size // 8) // size)


def weight_pieces(config, words):
    """(first, words) of each WEIGHTS that writes ``words`` words of all banks and tiles."""
    return _pieces(words, (MAX_PAYLOAD - WeightsLayout.size // 8) // (config.banks * config.tiles))


def result_pieces(config, blocks):
    """(first, blocks) of each RESULTS that fetches the results of ``blocks`` row blocks."""
    return _pieces(blocks, MAX_PAYLOAD // (config.rows * ACCUMULATOR_BYTES))


def product_exchanges(placed, config, streamed):
    """Yield the exchanges of ``Device.multiply`` for an int32 vector, in order: a list of Command, and how often.

    ``placed`` is as of ``Device.multiply``; what it says of loading counts where the weights are ``streamed`` over the
    link.
    """
    for commands in _transactions(placed, config, streamed):
        start = 0
        while start < len(commands):
            end = start + window(command.payload for command in commands[start:start + WINDOW_FRAMES])
            exchange, after = commands[start:end], end
            while commands[after:after + len(exchange)] == exchange:
                after += len(exchange)
            yield exchange, (after - start) // len(exchange)
            start = after


def _transactions(placed, config, streamed):
    """The commands of each ``Link.transact`` of a product."""
    packed, chunks = placed

    def weights(index):
        words = chunks[index].blocks * packed.words
        return [Command(Kind.WEIGHTS, WeightsLayout.size // 8 + count * config.banks * config.tiles, 0, index)
                for _, count in weight_pieces(config, words)]

    pieces = [Command(Kind.VECTOR, VectorLayout.size // 8 + ELEMENT_BYTES * count, 0)
              for _, count in vector_pieces(packed.shape[1])]
    yield pieces[:1]  # it opens the vector; only when it is answered the others may follow
    yield pieces[1:]
    for index, chunk in enumerate(chunks):
        load = streamed and chunk.load
        if load and (index == 0 or chunks[index - 1].base == chunk.base):
            yield weights(index)
        ahead = (weights(index + 1) if streamed and index + 1 < len(chunks) and chunks[index + 1].load
                 and chunks[index + 1].base != chunk.base else [])
        yield [Command(Kind.RUN, RunLayout.size // 8, 0, index), *ahead]
        yield [Command(Kind.RESULTS, SpanLayout.size // 8, count * config.rows * ACCUMULATOR_BYTES, index)
               for _, count in result_pieces(config, chunk.blocks)]
    yield [Command(Kind.READ, SpanLayout.size // 8, REGISTER_BYTES * len(Register))]
