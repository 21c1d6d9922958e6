import pytest

from setun.hdl.config import PRESETS, Config
from setun.hdl.control.program import CONSTANTS, LAYOUTS, OTHER, Program, Word
from setun.hdl.control.steps import WORDS, Action, StepLayout
from setun.hdl.protocol import Kind


SMALLEST = Config(name="smallest", banks=1, tiles=1, depth=1, columns=1, blocks=1)
LARGEST = Config(name="largest", banks=64, tiles=15, depth=65536, columns=32768, blocks=65535, slots=16)


@pytest.mark.parametrize("config", [*PRESETS.values(), SMALLEST, LARGEST], ids=lambda config: config.name)
def test_fits(config):
    """The memories it lies in, and what a step has room for."""
    program = Program(config)
    assert len(program.constants) <= WORDS - CONSTANTS
    assert len(program.code) <= 512
    for fields in program.code:
        StepLayout.const(fields)


def test_entries():
    """Each kind's steps begin where those before have ended, and take as many bytes as its arguments have."""
    program = Program(PRESETS["4x10"])
    assert list(program.entries) == [0, *LAYOUTS] == sorted(program.entries)
    bounds = [*program.entries.values(), len(program.code)]
    for kind, begin, end in zip(program.entries, bounds, bounds[1:], strict=False):
        actions = [fields.get("action") for fields in program.code[begin:end]]
        assert actions[-1] == Action.END and actions.count(Action.END) == 1
        layout = LAYOUTS[kind][0] if kind else None
        assert actions.count(Action.ARGUMENT) == (layout.size // 8 if layout else 0)


def test_words():
    """Arguments of a kind share no word, a byte has no longer one's, and VECTOR's have a place more."""
    of_width = {width: {word for layout, words in LAYOUTS.values()
                        for (_, field), word in zip(layout or [], words, strict=True) if field.width == width}
                for width in (8, 16)}
    assert not of_width[8] & of_width[16]
    used = {int(word) for _, words in LAYOUTS.values() for word in words} | {Word.SEQUENCE, Word.SIZE}
    for _, words in LAYOUTS.values():
        assert len(set(words)) == len(words)
    others = {word ^ OTHER for word in LAYOUTS[Kind.VECTOR][1]}
    assert not others & used and max(used | others) < CONSTANTS
