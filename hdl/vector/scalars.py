from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from setun.hdl.instructions import SCALAR_BITS, ScaleOperation as O
from setun.hdl.technology.product import PORTABLE
M,E=SCALAR_BITS
class ScalarUnit(wiring.Component):
    def __init__(self,*,registers,technology=PORTABLE,value_bits=48):
        self.registers,self.technology=registers,technology
        ab=max(ceil_log2(registers),1)
        super().__init__({"start":In(1),"operation":In(3),"destination":In(ab),"a":In(ab),"b":In(ab),"exponent":In(signed(E)),"value":In(value_bits),
          "busy":Out(1),"done":Out(1),"read_address":In(ab),"read_mantissa":Out(M),"read_exponent":Out(signed(E)),
          "write_enable":In(1),"write_address":In(ab),"write_mantissa":In(M),"write_exponent":In(signed(E))})
    def elaborate(self,p):
        m=Module()
        m.submodules.mem=mem=self.technology.memory(depth=self.registers,width=M+E)
        op=Signal(3); dst=Signal.like(self.destination); ex=Signal(signed(E+2)); ra,rb=Signal.like(self.a),Signal.like(self.b)
        val=Signal(48)
        am,ae,bm,be=Signal(M),Signal(signed(E+2)),Signal(M),Signal(signed(E+2))
        res=Signal(64); rexp=Signal(signed(E+3))
        addr=Signal.like(self.a); we=Signal()
        m.d.comb+=[mem.read_enable.eq(1),mem.read_address.eq(addr),addr.eq(self.read_address),
            self.read_mantissa.eq(mem.read_data[:M]),self.read_exponent.eq(mem.read_data[M:].as_signed()),
            mem.write_enable.eq(we|self.write_enable),mem.write_address.eq(Mux(we,dst,self.write_address)),
            mem.write_data.eq(Mux(we,Cat(res[:M],Mux(res[:M]==0,0,rexp[:E])),Cat(self.write_mantissa,self.write_exponent)))]
        n=Signal(6); rem=Signal(20); q=Signal(18); root=Signal(18); sq=Signal(34)
        m.d.sync+=self.done.eq(0)
        with m.FSM() as f:
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync+=[op.eq(self.operation),dst.eq(self.destination),ra.eq(self.a),rb.eq(self.b),ex.eq(self.exponent),val.eq(self.value),n.eq(0)]
                    m.next="A"
            with m.State("A"):
                m.d.comb+=addr.eq(ra); m.d.sync+=n.eq(n+1)
                with m.If(n==3): 
                    m.d.sync+=[am.eq(mem.read_data[:M]),ae.eq(mem.read_data[M:].as_signed()),n.eq(0)]; m.next="B"
            with m.State("B"):
                m.d.comb+=addr.eq(rb); m.d.sync+=n.eq(n+1)
                with m.If(n==3): 
                    m.d.sync+=[bm.eq(mem.read_data[:M]),be.eq(mem.read_data[M:].as_signed()),n.eq(0)]; m.next="GO"
            with m.State("GO"):
                m.next="NORM"
                with m.Switch(op):
                    with m.Case(O.MULTIPLY.value): m.d.sync+=[res.eq(am*bm),rexp.eq(ae+be)]
                    with m.Case(O.DIVIDE.value): 
                        m.d.sync+=[rem.eq(am),q.eq(0),rexp.eq(ae-be-16)]; m.next="DIV"
                    with m.Case(O.ROOT.value):
                        m.d.sync+=[rem.eq(0),root.eq(0),sq.eq(Mux(ae[0],am<<15,am<<16)),rexp.eq(Mux(ae[0],(ae-15)>>1,(ae-16)>>1))]; m.next="ROOT"
                    with m.Case(O.ADD.value):
                        m.next="ALIGN"
                        with m.If(am==0): m.d.sync+=[res.eq(bm),rexp.eq(be)]; m.next="NORM"
                        with m.Elif(bm==0): m.d.sync+=[res.eq(am),rexp.eq(ae)]; m.next="NORM"
                        with m.Elif(ae>=be): m.d.sync+=[res.eq(am<<16),sq.eq(bm<<16),rexp.eq(ae-16),n.eq(Mux(ae-be>40,40,ae-be))]
                        with m.Else(): m.d.sync+=[res.eq(bm<<16),sq.eq(am<<16),rexp.eq(be-16),n.eq(Mux(be-ae>40,40,be-ae))]
                    with m.Default(): m.d.sync+=[res.eq(val),rexp.eq(0)]
            with m.State("DIV"):
                with m.If(bm==0): 
                    m.d.sync+=res.eq(0); m.next="NORM"
                with m.Else():
                    ge=rem>=bm
                    m.d.sync+=[q.eq(Cat(ge,q)),rem.eq(Mux(ge,rem-bm,rem)<<1),n.eq(n+1)]
                    with m.If(n==16): m.d.sync+=res.eq(Cat(ge,q)); m.next="NORM"
            with m.State("ROOT"):
                cur=Cat(sq[30:32],rem[:18]); t=Cat(C(1,2),root[:17]); ge=cur>=t
                m.d.sync+=[rem.eq(Mux(ge,cur-t,cur)),root.eq(Cat(ge,root)),sq.eq(sq<<2),n.eq(n+1)]
                with m.If(n==15): m.d.sync+=res.eq(Cat(ge,root[:15])); m.next="NORM"
            with m.State("ALIGN"):
                with m.If(n!=0): m.d.sync+=[sq.eq(sq>>1),n.eq(n-1)]
                with m.Else(): m.d.sync+=res.eq(res+sq); m.next="NORM"
            with m.State("NORM"):
                with m.If(res==0): m.next="WRITE"
                with m.Elif(res[M:].any()): m.d.sync+=[res.eq(res>>1),rexp.eq(rexp+1)]
                with m.Elif(~res[M-1]): m.d.sync+=[res.eq(res<<1),rexp.eq(rexp-1)]
                with m.Else(): m.d.sync+=rexp.eq(rexp+ex); m.next="WRITE"
            with m.State("WRITE"):
                m.d.comb+=we.eq(1); m.d.sync+=self.done.eq(1); m.next="IDLE"
        m.d.comb+=self.busy.eq(~f.ongoing("IDLE"))
        return m
