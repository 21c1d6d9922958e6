"""An accelerator, simulated or at a port, as a user has it: text from a model, one product."""

import contextlib
import functools
from typing import NamedTuple

import numpy as np

from .compiler.packing import CapacityError, pack, place, place_model
from .configuration import config_of
from .driver.device import Device
from .errors import ArgumentError
from .formats.model import Model, load
from .generate import Accelerated, CheckError, Generation, greedy, sampler
from .golden.matvec import matvec
from .hdl.config import Config


__all__ = ["Accelerator", "MatVec", "connect", "simulate"]


CAUSES = ("issue", "flush", "vector", "load", "link", "idle")


def quiet(description, done, total):
    """A progress function that tells nobody."""


class MatVec(NamedTuple):
    """A matrix-vector product of an accelerator.

    ``cycles`` holds cycles by cause, {"issue": a beat enters the array, "flush": results are on their way, "vector":
    the vector is listed, "load": weights are written, "link": another command or its answer is on the way, "idle":
    none of these}. ``repeated`` says that frames were sent again, whose cycles may be counted twice.
    """
    accumulators: np.ndarray  # int32 [M]
    cycles: dict
    repeated: bool


class Accelerator:
    """A ternary array at the other end of a transport. A context manager; leaving it releases the transport.

    Nothing is built or sent before it is needed. What was loaded stays until something else needs its place.

    Parameters
    ----------
    transport : setun.driver.transport.Transport
    config : Config | None
        What is there; None asks it.

    Its methods raise LinkError where the link fails, DeviceError where a command is refused, and MismatchError where
    there is no accelerator, or another.

    Members
    -------
    config : Config
    device : setun.driver.device.Device
        The driver.
    """

    def __init__(self, transport, config=None):
        self.transport, self._config = transport, config
        self._loaded = None  # what the weight memories hold, of which that of a model is kept

    @functools.cached_property
    def device(self) -> Device:
        """The driver; it resets the accelerator and asks what it is when it is first used."""
        return Device(self.transport, self._config)

    @property
    def config(self) -> Config:
        """What is there."""
        return self._config or self.device.config

    def close(self) -> None:
        """Release the transport."""
        self.transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def generate(self, model: Model | str, prompt: str | list[int], *, tokens: int = 32, temperature: float = 0.0,
                 seed: int = 0, check: bool = True, scrub: bool = False, choose=None, progress=quiet) -> Generation:
        """Continue a text; every BitLinear of every token goes through the accelerator.

        Parameters
        ----------
        model : Model | str
            What ``setun.load`` returns, or takes.
        prompt : str | list of int
            Text, or its tokens.
        tokens : int
            Tokens to generate, if the model does not end the text before.
        temperature : float
            0 takes the most likely token; else the softmax over it is sampled, on the host.
        seed : int
            Of the sampling.
        check : bool
            Compute each product again in NumPy, and predict its cycles. Without it, what comes is taken as it is.
        scrub : bool
            Behind each token compare the weights in the memories with those loaded, and repair them.
        choose : function | None
            (logits, scale) -> token, in place of ``temperature``.
        progress : function
            Is told what goes on, how much is done, and of how much.

        Returns a Generation, an iterator of Token. Raises ArgumentError for a prompt that is empty, or longer with
        ``tokens`` than the model's context; CapacityError where a matrix does not fit; and where the tokens are taken,
        CheckError behind the last one if something was not what the models say.
        """
        model = model if isinstance(model, Model) else load(model)
        ids = model.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        check_prompt(model.checkpoint, prompt, ids, tokens)
        if choose is None:
            choose = sampler(temperature, seed) if temperature else greedy
        placed, resident = self._load(model, scrub, progress)
        accelerated = Accelerated(self.device, placed, check=check)
        scrubs = functools.partial(self.device.scrub, placed.values()) if scrub else list
        return Generation(model, accelerated, ids, tokens, choose, scrubs, resident)

    def _load(self, model, scrub, progress):
        """Placed matrices of a model, and whether they are resident; loads them if so, and not there."""
        if self._loaded is not None and self._loaded[0] is model:
            _, placed, resident = self._loaded
        else:
            placed, resident = place_model(model.integer, self.config)
        if scrub and not resident:
            raise CapacityError(f"the weights do not fit config {self.config.name}, and none stay to be scrubbed: "
                                "choose a larger one (setun configs), or leave out scrub")
        if resident and (self._loaded is None or self._loaded[0] is not model):
            self.device.load(placed.values(), functools.partial(progress, "loading weights"))
        self._loaded = (model, placed, resident) if resident else None
        return placed, resident

    def matvec(self, weights, activations, *, skip: bool = True, check: bool = True) -> MatVec:
        """Multiply one ternary matrix and one vector.

        Parameters
        ----------
        weights : int8 [M, n]
            Of -1, 0, +1.
        activations : int8 [n]
        skip : bool
            Leave out activations that are 0; else they take a beat as others do.
        check : bool
            Compare with NumPy's product.

        Raises ArgumentError for other shapes, types and values, CapacityError where a row does not fit, and CheckError
        where a value is not NumPy's.
        """
        w, x = check_matrix(weights, activations)
        (placed,), resident = place([pack(w, self.config)], self.config)
        self._loaded = None
        self.device.counters()
        if resident:
            self.device.load([placed])
        loading = self.device.counters()
        product = self.device.multiply(placed, x, quantise=False, skip=skip)
        wrong = int((product.accumulators != matvec(w, x)).sum()) if check else 0
        if wrong:
            raise CheckError(f"{wrong} of {len(w)} values differ from NumPy's: is the accelerator's memory sound?")
        cycles = {cause: product.counters[f"CYCLES_{cause.upper()}"] + loading[f"CYCLES_{cause.upper()}"]
                  for cause in CAUSES}
        return MatVec(product.accumulators, cycles, product.repeated)


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
        Or its text: a preset, "16x20"; one with changes, "16x20,depth=4096"; or a YAML file of Config's parameters.
    waveform : path | None
        Write a VCD of all that is simulated, and beside it ``.gtkw``, which opens it in GTKWave with named ports.

    Raises ToolError where a tool is missing, in one line that says how to install it.
    """
    from .sim.rtl.transport import SimulatedTransport  # with it comes the RTL, which a port has no use for

    config = config_of(config)
    return Accelerator(SimulatedTransport(config, waveform=waveform), config)


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
    from .driver.port import BAUD, LATENCY, SerialTransport

    wanted = None if config is None else config_of(config)
    accelerator = Accelerator(SerialTransport(port, baud or BAUD, latency or LATENCY), wanted)
    with contextlib.ExitStack() as undo:
        undo.callback(accelerator.close)
        accelerator.device
        undo.pop_all()
    return accelerator
