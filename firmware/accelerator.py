"""An accelerator, simulated or at a port, as a user has it: text from a model, one product."""

import contextlib
import functools
from collections import Counter
from typing import NamedTuple

import numpy as np

from .compiler.product import pieces, product_image
from .compiler.schedule import TooLarge, compile_model
from .configuration import config_of
from .driver.machine import Machine
from .driver.port import BAUD, LATENCY, SerialTransport
from .errors import ArgumentError
from .formats.model import Model, load
from .generate import CHECKS, MOST_CYCLES, CheckError, Generation
from .golden.matvec import matvec
from .golden.sampling import STATE_BITS, temperature_scalar
from .hdl.config import PRESETS, Config
from .hdl.protocol import Register, Space


__all__ = ["Accelerator", "MatVec", "connect", "reference", "simulate", "smallest"]


def quiet(description, done, total):
    """A progress function that tells nobody."""


class MatVec(NamedTuple):
    """A matrix-vector product of an accelerator.

    ``cycles`` are those of all its pieces, and ``causes`` the same as the cycle model has them, {(instruction, cause):
    cycles}. ``pieces`` are parts of the matrix that went through one after the other.
    """
    accumulators: np.ndarray  # int32 [M]
    cycles: int
    causes: Counter
    pieces: int


class Accelerator:
    """A machine at the other end of a transport. A context manager; leaving it releases the transport.

    Nothing is built or sent before it is needed. What was loaded stays until something else needs its place.

    Parameters
    ----------
    transport : setun.driver.transport.Transport
    config : Config | None
        What is there; None asks it.

    Its methods raise LinkError where the link fails, RefusedError where a command is refused, and MismatchError where
    there is no accelerator, or another.

    Members
    -------
    config : Config
    machine : setun.driver.machine.Machine
        The driver.
    """

    def __init__(self, transport, config=None):
        self.transport, self._config = transport, config
        self._loaded = None  # the model in the memories, and its Image

    @functools.cached_property
    def machine(self) -> Machine:
        """The driver; it opens a session and asks the accelerator what it is when it is first used."""
        return Machine(self.transport, self._config)

    @property
    def config(self) -> Config:
        """What is there."""
        return self._config or self.machine.config

    def close(self) -> None:
        """Release the transport."""
        self.transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def generate(self, model: Model | str, prompt: str | list[int], *, tokens: int = 32, temperature: float = 0.0,
                 seed: int = 0, check: str = "values", scrub: bool = False, progress=quiet) -> Generation:
        """Continue a text; the accelerator computes every token of it.

        Parameters
        ----------
        model : Model | str
            What ``setun.load`` returns, or takes.
        prompt : str | list of int
            Text, or its tokens.
        tokens : int
            Tokens to generate, if the model does not end the text before.
        temperature : float
            0 takes the most likely token; else the softmax over it is sampled, on the accelerator.
        seed : int
            Of the sampling, 32 bits.
        check : str
            "values": stop behind each position, and compare tokens, all memories and cycles with the golden model, the
            reference machine and the cycle model. "tokens": compare tokens, and the sum of the cycles, while the
            accelerator runs on. "none": take what comes.
        scrub : bool
            Compare what was loaded with the memories, and repair them: behind each token with "values", else at the
            end.
        progress : function
            Is told what goes on, how much is done, and of how much.

        Returns a Generation, an iterator of Token. Raises ArgumentError for a prompt that is empty, or longer with
        ``tokens`` than the model's context; TooLarge where the model does not fit; and where the tokens are taken,
        CheckError behind the last one if something was not what the models say.
        """
        model = model if isinstance(model, Model) else load(model)
        ids = model.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        check_prompt(model.checkpoint, prompt, ids, tokens)
        if check not in CHECKS:
            raise ArgumentError(f"check is {check!r} and must be one of {', '.join(CHECKS)}")
        if not (0 <= temperature < np.inf and 0 <= seed < 1 << STATE_BITS):
            raise ArgumentError(f"temperature is {temperature} and seed {seed}: give a number from 0 on, and one of 32 "
                                "bits")
        self.machine.stop(MOST_CYCLES)  # a text that nobody has taken to its end
        image = self._load(model, progress)
        checker, scalar = None, temperature_scalar(temperature)
        if check != "none":
            from .check import Checker  # with the cycle model it loads what a serial port has no use for

            checker = Checker(model.integer, image, scalar, seed)
        if check == "values":
            self.machine.clear(image)  # what is left of a text before is not the models'
        self.machine.sample(image, scalar, seed)
        scrubs = functools.partial(self.machine.scrub, image) if scrub else list
        return Generation(model, self.machine, ids, tokens, checker, check == "values", scrubs)

    def _load(self, model, progress):
        """The Image of a model; it is loaded if it is not there."""
        if self._loaded is None or self._loaded[0] is not model:
            progress("compiling the model", 0, None)
            image = compile_model(model.integer, self.config)
            self._loaded = None
            self.machine.load(image, functools.partial(progress, "loading the model"))
            self._loaded = model, image
        return self._loaded[1]

    def matvec(self, weights, activations, *, check: bool = True, progress=quiet) -> MatVec:
        """Multiply one ternary matrix and one vector; activations that are 0 take no time.

        Parameters
        ----------
        weights : int8 [M, n]
            Of -1, 0, +1.
        activations : int8 [n]
        check : bool
            Compare with NumPy's product, and the cycles with the cycle model's.
        progress : function
            As of ``generate``.

        A matrix that does not fit goes through in pieces. Raises ArgumentError for other shapes, types and values, and
        CheckError where a value or a count of cycles is not the models'.
        """
        from .sim.model.processor import Processor
        from .sim.model.processor_cycles import turn_cycles

        w, x = check_matrix(weights, activations)
        machine, self._loaded, parts = self.machine, None, pieces(w.shape, self.config)
        machine.stop(MOST_CYCLES)
        accumulators, cycles, causes = np.zeros(len(w), np.int32), 0, Counter()
        for number, (rows, columns) in enumerate(parts):
            image = product_image(w[rows, columns], x[columns], self.config)
            machine.load(image)
            machine.give([0])
            machine.go(0, 1)
            cycles += machine.wait(1, MOST_CYCLES)[Register.CYCLES]
            found = machine.read(Space.RESULTS, 0, image.used("results")).reshape(-1)
            accumulators[rows] += found[:rows.stop - rows.start].astype(np.int32)
            causes += turn_cycles(Processor(image), 0, 0)[1].cycles
            progress("multiplying", number + 1, len(parts))
        wrong = int((accumulators != matvec(w, x)).sum())
        if check and (wrong or cycles != causes.total()):
            raise CheckError(f"{wrong} of {len(w)} values differ from NumPy's, and {cycles:,} cycles were counted "
                             f"where {causes.total():,} are predicted: is the accelerator's memory sound?")
        return MatVec(accumulators, cycles, causes, len(parts))


def smallest(model: Model) -> Config:
    """The smallest processor that ships and holds a model whole. Raises TooLarge, which says what the largest one
    lacks."""
    for config in sorted(PRESETS.values(), key=lambda config: (config.products, config.depth)):
        try:
            compile_model(model.integer, config)
            return config
        except TooLarge as error:
            lacks = TooLarge(f"no preset holds the model whole; {config.name}: {error}")
    raise lacks


def check_prompt(checkpoint, prompt, ids, tokens):
    """Raise ArgumentError for a prompt that a model cannot continue by so many tokens."""
    if not len(prompt) or not ids:
        raise ArgumentError("prompt is empty: give at least one character")
    if tokens < 1:
        raise ArgumentError(f"tokens is {tokens}: ask for one at least")
    if foreign := [token for token in ids if not 0 <= token < checkpoint.vocab]:
        raise ArgumentError(f"prompt has the token {foreign[0]} and the model {checkpoint.vocab} tokens: "
                            + ("leave out what becomes it, or give the model the tokenizer that was made for it"
                               if isinstance(prompt, str) else "leave it out"))
    if len(ids) + tokens - 1 > checkpoint.context:
        raise ArgumentError(f"prompt of {len(ids)} tokens and {tokens} tokens exceed the model's context of "
                            f"{checkpoint.context}: shorten one of them")


def check_matrix(weights, activations, w_name="weights", x_name="activations"):
    """int8 [M, n] of -1, 0, +1 and int8 [n]. Raises ArgumentError, which calls them by their names, for others."""
    w, x = np.asarray(weights), np.asarray(activations)
    if w.dtype != np.int8 or w.ndim != 2 or not w.size:
        raise ArgumentError(f"{w_name} is {w.dtype} {list(w.shape)} and must be int8 [M, n]")
    if x.dtype != np.int8 or x.ndim != 1:
        raise ArgumentError(f"{x_name} is {x.dtype} {list(x.shape)} and must be int8 [n]")
    if w.shape[1] != len(x):
        raise ArgumentError(f"{w_name} has {w.shape[1]} columns and {x_name} {len(x)} elements: they must agree")
    foreign = w[(w < -1) | (w > 1)]
    if foreign.size:
        raise ArgumentError(f"{w_name} has the value {foreign[0]}: only -1, 0 and +1 are ternary")
    return w, x


def simulate(config: Config | str, *, waveform=None) -> Accelerator:
    """The accelerator's RTL in a compiled simulator, cycle for cycle; compiled when it is first used, and kept.

    Parameters
    ----------
    config : Config | str
        Or its text: a preset, "24x40"; one with changes, "24x40,depth=4096"; or a YAML file of its parameters.
    waveform : path | None
        Write a VCD of all that is simulated, and beside it ``.gtkw``, which opens it in GTKWave with named ports.

    Raises ToolError where a tool is missing, in one line that says how to install it.
    """
    from .sim.rtl.transport import SimulatedTransport  # with it comes the RTL, which a port has no use for

    config = config_of(config)
    return Accelerator(SimulatedTransport(config, waveform=waveform), config)


def reference(config: Config | str) -> Accelerator:
    """The same machine in NumPy, without any RTL: it executes the same commands and programs, and counts the cycles
    that the RTL would take. ``config`` is as of ``simulate``."""
    from .sim.model.device import ReferenceTransport

    config = config_of(config)
    return Accelerator(ReferenceTransport(config), config)


def connect(port: str, *, baud: int | None = None, latency: float | None = None,
            config: Config | str | None = None) -> Accelerator:
    """A board at a serial port.

    Parameters
    ----------
    port : str
        Its name, or a URL of pyserial: "/dev/ttyUSB0", "socket://localhost:5555".
    baud : int | None
        Bits a second, as in ``setun boards``; None takes 3,000,000.
    latency : float | None
        Seconds that bytes may be on their way; None takes a quarter, more than USB and its drivers need.
    config : Config | str | None
        What must be there; None asks the board.

    Raises LinkError where the port cannot be opened, and MismatchError where there is no accelerator, or another.
    """
    wanted = None if config is None else config_of(config)
    accelerator = Accelerator(SerialTransport(port, baud or BAUD, latency or LATENCY), wanted)
    with contextlib.ExitStack() as undo:
        undo.callback(accelerator.close)
        accelerator.machine
        undo.pop_all()
    return accelerator
