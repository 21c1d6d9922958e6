"""Programs as people read them."""

import pytest

from setun.compiler.listing import listing
from setun.compiler.schedule import compile_model
from setun.golden.fixed import to_fixed
from setun.hdl.config import Config
from tests.support.checkpoints import random_checkpoint


@pytest.fixture(scope="module")
def image():
    return compile_model(to_fixed(random_checkpoint(layers=2)),
                         Config(banks=8, tiles=4, depth=4096, instructions=1024))


def test_lines(image):
    """A line for each instruction, in order, with names in place of addresses and without what is usual."""
    lines = listing(image).splitlines()
    assert len(lines) == len(image.program)
    assert [int(line.split()[0]) for line in lines] == list(range(len(lines)))
    assert [line.split()[1] for line in lines] == [type(each).__name__ for each in image.program]
    texts = [line.split(maxsplit=1)[1] for line in lines]
    assert texts[0] == "Fetch   weights=embedding stride=8 words=16 results=sums"
    assert texts[-1] == "End" and texts[-4].startswith("Scale   operation=multiply destination=logits a=scale b=head")
    assert texts[-3] == "Scale   operation=divide destination=noise a=temperature b=logits"
    for text in ("Run     slot=0 int8=false weights=gate_up+layer stride=8 blocks=10 results=sums",
                 "Scale   operation=multiply destination=q_scale a=scale b=qkv.0+layer",
                 "Store   kind=value words=4 first=result source=sums+28 scalar=value_step weights=values.1+layer "
                 "stride=4"):
        assert text in texts, text


def test_offsets(image):
    """What lies within a vector is named by it and how many words further: the second head's queries."""
    assert any("elements=rotated+4 scalar=reciprocal" in line for line in listing(image).splitlines())
