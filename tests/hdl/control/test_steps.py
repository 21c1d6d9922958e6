import random

from setun.hdl.control.steps import Action, Condition, Operand, Step, above, act, add, assemble, count, take
from setun.hdl.protocol import Error


def test_delays():
    """The word first, the rest two cycles later, its test a cycle after that; what is stored is addressed with it."""
    assert assemble([above(7, Error.RANGE, clear=1)]) == [
        {"word": 7}, {}, {"operand": Operand.INVERSE, "clear": 1}, {"test": Condition.CARRY, "error": Error.RANGE}]
    assert assemble([take(Action.ARGUMENT, word=7, one=1)]) == [
        {}, {}, {"word": 7, "accumulate": 1, "action": Action.ARGUMENT, "one": 1}]
    assert assemble([add(1), count(), act(Action.FACTOR, 2)]) == [
        {"word": 1}, {}, {"word": 2, "operand": Operand.WORD, "accumulate": 1}, {"accumulate": 1},
        {"action": Action.FACTOR}]


def test_waits():
    """Every step keeps its order and its word, and none is addressed sooner than two cycles after it comes."""
    rng = random.Random(1)
    for _ in range(200):
        steps = [rng.choice([take(Action.ARGUMENT, word=rng.randrange(1, 4)), act(Action.FACTOR, rng.randrange(1, 4)),
                             Step(action=Action.SETTLE)]) for _ in range(rng.randrange(1, 12))]
        code, stored, seen = assemble(steps), {}, []
        for place, fields in enumerate(code):
            action = fields.get("action")
            if action == Action.ARGUMENT:
                stored[fields["word"]] = place
                seen.append((action, fields["word"]))
            elif action == Action.FACTOR:
                word = code[place - 2]["word"]
                assert stored.get(word, -2) < place - 3  # where it is addressed, it was written a cycle before
                seen.append((action, word))
            elif action:
                seen.append((action, None))
        assert seen == [(step.action, step.word) for step in steps]
