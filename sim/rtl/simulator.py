"""The fast simulator: a design compiled by Verilator, with the clock loop in C++."""

import ctypes
import shutil
import weakref
from pathlib import Path

from amaranth.hdl import Shape
from amaranth.lib import enum
from vcd.gtkw import GTKWSave, make_translation_filter

from ...hdl.build import toolchain
from ...hdl.build.cache import cached, digest
from ...hdl.build.verilog import generate
from ...hdl.protocol import END


__all__ = ["Simulator"]


HARNESS = Path(__file__).with_name("harness.cpp")
VERILATOR = ("--cc", "--exe", "--build", "-j", "2", "--prefix", "Vtop", "-O3", "--x-assign", "fast",
             "--x-initial", "fast", "--noassert", "--no-timing", "-Wno-lint", "-Wno-style", "-Wno-fatal",
             "--timescale", "1ns/1ns",
             "-CFLAGS", "-I.. -fPIC -fvisibility=hidden -fno-gnu-unique", "-LDFLAGS", "-shared")
MEMORIES = """`verilator_config
public_flat_rw -module "*weights*" -var "storage"
"""  # that ``flip`` can reach
# In a file: with other flags Verilator's library would be compiled again.
DESIGN = "#define LINE {line}\n#define TOGGLES {toggles}\n"
MODULES = ("-fno-inline",)  # they stay modules: a tile is compiled once and not once for each instance
# What is made of thousands of cells takes longer to compile than to run: all of it at once, for each file would read
# their names again, and as it stands.
CELLS = ("--output-split", "0", "-MAKEFLAGS", "OPT_FAST=-O0")
BUILD_SECONDS = 1800
SLICE = 1 << 18  # cycles between looks at the keyboard
FOREVER = 2 ** 64 - 1  # frames

_FUNCTIONS = {
    "open": (ctypes.c_void_p, ctypes.c_char_p),
    "close": (None, ctypes.c_void_p),
    "reset": (None, ctypes.c_void_p),
    "request": (None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_uint64,
                ctypes.c_uint8),
    "run": (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64),
    "flip": (ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t),
    "sent": (ctypes.c_uint64, ctypes.c_void_p),
    "replied": (ctypes.c_uint64, ctypes.c_void_p),
    "reply": (ctypes.c_void_p, ctypes.c_void_p),
    "cycles": (ctypes.c_uint64, ctypes.c_void_p),
    "seconds": (ctypes.c_double, ctypes.c_void_p),
}
_LINE_FUNCTIONS = {"bit": (None, ctypes.c_void_p, ctypes.c_double)}
_TOGGLE_FUNCTIONS = {"toggles": (ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t)}
LINE_BITS = 10  # of a byte


def _build(component, name, key, sources, trace, toggles):
    """Path of the shared object, from the cache or built now."""
    flags = (*VERILATOR, *(MODULES if sources is None else CELLS),
             *(("--trace-vcd", "--trace-max-array", "0") if trace else ()))
    design = DESIGN.format(line=int(_has_line(component)), toggles=int(bool(toggles)))
    if key is None and sources is None:
        sources = {f"{name}.v": generate(component, name)}

    def build(folder):
        files = {**(sources or {f"{name}.v": generate(component, name)}), "memories.vlt": MEMORIES}
        for file, text in (files | {"design.h": design}).items():
            (folder / file).write_text(text)
        for needed in ("g++", "make", "perl"):
            toolchain.tool(needed)
        toolchain.run([toolchain.tool("verilator"), *flags, "--top-module", name, "-Mdir", str(folder / "objects"),
                       "-o", str(folder / "simulator.so"), *files, str(HARNESS)],
                      folder=folder, timeout=BUILD_SECONDS)
        shutil.rmtree(folder / "objects")

    key = digest(key or repr(sources), name, HARNESS.read_text(), MEMORIES, design, *flags,
                 packages=toolchain.SIMULATION)
    return cached(toolchain.build_folder() / "simulator", key, build) / "simulator.so"


def _has_line(component):
    return "rx" in component.signature.members


def _write_save_file(component, waveform):
    """GTKWave's save file beside a waveform: the ports, with the names of enumerations' values."""
    with Path(f"{waveform}.gtkw").open("w") as file:
        save = GTKWSave(file)
        save.dumpfile(str(waveform.absolute()))
        for path, member, _ in component.signature.flatten(component):
            shape, name = member.shape, "__".join(map(str, path))
            width = Shape.cast(shape).width
            names = None
            if isinstance(shape, enum.EnumType):
                names = f"{waveform}.{name}.txt"
                Path(names).write_text(make_translation_filter(
                    [(member.value, member.name) for member in shape], datafmt="hex", size=width))
            suffix = f"[{width - 1}:0]" if width > 1 else ""
            save.trace(f"TOP.{name}{suffix}", datafmt="hex", translate_filter_file=names)


class Simulator:
    """A component with byte streams ``i`` and ``o``, or a serial line ``rx`` and ``tx``, simulated cycle for cycle.

    Registers start at their initial values. The clock only runs inside ``reset``, ``exchange`` and ``run``. ``o`` is
    always ready, and ``i`` is valid from the first cycle of an exchange until the request is sent.

    At the other end of a serial line is a host with a baud rate of its own, that samples each bit in its middle and
    drops a byte without stop bit. A byte is sent when its start bit begins, and received in its stop bit.

    Parameters
    ----------
    component : wiring.Component
        Has ``i`` and ``o`` of ``stream.Signature(8)``, or ``rx`` and ``tx`` of a line, and its attributes ``clock``
        and ``baud``; other ports are outputs.
    name : str
        Name of the Verilog module.
    key : str | None
        Stands for the design in the cache, where elaborating it only to find its build takes too long: a hash of all
        that it is made from. Without it the Verilog is generated and hashed every time.
    sources : dict | None
        Verilog in place of the component's own, {name of a file: text}, with the same ports.
    toggles : int
        Numbers of 64 bits that an output ``toggles`` of ``sources`` holds.
    waveform : path | None
        A VCD is written there, by a build of its own. ``waveform.gtkw`` beside it opens it in GTKWave with all ports
        and the names of enumerations' values.

    Raises
    ------
    ToolError
        A tool is missing, or the build failed.

    Members
    -------
    close() : method
        Ends the simulation, and completes the waveform; also done when the object is dropped or Python ends.
    cycles : int
        Since the start or the last reset.
    cycles_per_second : float
        Simulated cycles over the time that they took, since the start or the last reset.
    baud : float
        Of the host at a serial line, the component's own until it is set; None without a line.
    byte_cycles : float
        That a byte of the host takes on the serial line; 0 without a line.
    """

    def __init__(self, component, name, *, key=None, sources=None, toggles=0, waveform=None):
        component._MustUse__used = True  # Amaranth would warn of one that was found in the cache, not elaborated
        self._library = ctypes.CDLL(_build(component, name, key, sources, waveform is not None, toggles))
        line = _has_line(component)
        functions = _FUNCTIONS | (_LINE_FUNCTIONS if line else {}) | (_TOGGLE_FUNCTIONS if toggles else {})
        self._toggles = toggles
        for function, (result, *arguments) in functions.items():
            entry = getattr(self._library, f"simulator_{function}")
            entry.restype, entry.argtypes = result, arguments
        if waveform is not None:
            _write_save_file(component, Path(waveform))
        self._opened = self._library.simulator_open(str(waveform).encode())
        self.close = weakref.finalize(self, self._library.simulator_close, self._opened)
        self._clock = self._baud = None
        if line:
            self._clock, self.baud = component.clock, component.baud

    @property
    def _handle(self):
        if not self.close.alive:
            raise ValueError("the simulator is closed")
        return self._opened

    @property
    def baud(self):
        """Bits a second of the host's end of the line."""
        return self._baud

    @baud.setter
    def baud(self, baud):
        self._library.simulator_bit(self._handle, self._clock / baud)
        self._baud = baud

    @property
    def byte_cycles(self):
        """Cycles that a byte takes on the line; 0 of a stream."""
        return LINE_BITS * self._clock / self._baud if self._baud else 0

    def reset(self):
        """Reset for one cycle; the count of cycles starts again at zero."""
        self._library.simulator_reset(self._handle)

    def exchange(self, tx, *, want=0, frames=0, limit):
        """Send ``tx`` and return what is received until all is sent and there are ``want`` bytes and ``frames`` frames.

        A frame is complete with an END that follows another byte. Raises TimeoutError after ``limit`` cycles.
        """
        sent, rx, complete = self._run(tx, want, frames, limit)
        if not complete:
            raise TimeoutError(f"no end after {limit} cycles: {sent} of {len(tx)} bytes sent, {len(rx)} received")
        return rx

    def run(self, tx, *, frames=FOREVER, cycles):
        """Send ``tx`` for at most ``cycles`` cycles: how many bytes of it were sent, and what was received.

        Ends before that when all is sent and there are ``frames`` frames.
        """
        sent, rx, _ = self._run(tx, 0, frames, cycles)
        return sent, rx

    def _run(self, tx, want, frames, limit):
        library, handle = self._library, self._handle
        library.simulator_request(handle, tx, len(tx), want, frames, END)
        left, complete = limit, False
        while left and not complete:
            complete = library.simulator_run(handle, min(left, SLICE))
            left -= min(left, SLICE)
        rx = ctypes.string_at(library.simulator_reply(handle), library.simulator_replied(handle))
        return library.simulator_sent(handle), rx, complete

    def flip(self, memory, address, bit):
        """Flip a bit of a word in a memory of weights, as radiation does. ``memory`` is its path from the top, as
        "top.array.group_0.bank_0.tile_0.weights".

        Raises ValueError where there is none such.
        """
        if not self._library.simulator_flip(self._handle, f"TOP.{memory}".encode(), address, bit):
            raise ValueError(f"the simulated design has no bit {bit} of word {address} in a memory {memory}")

    def toggles(self):
        """The numbers at the output ``toggles``."""
        return [self._library.simulator_toggles(self._handle, index) for index in range(self._toggles)]

    @property
    def cycles(self):
        """Cycles since the reset."""
        return self._library.simulator_cycles(self._handle)

    @property
    def cycles_per_second(self):
        """Simulated in a second of the time spent simulating."""
        seconds = self._library.simulator_seconds(self._handle)
        return self.cycles / seconds if seconds else 0.0
