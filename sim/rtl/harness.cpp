// The clock loop around a design with byte streams i and o, or a serial line rx and tx, as a shared object that
// sim/rtl/simulator.py calls. It writes design.h: which of the two, and whether there is an output toggles.

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "Vtop.h"
#include "design.h"
#include "verilated.h"
#include "verilated_sym_props.h"
#include "verilated_syms.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

// Verilator writes the second of two underscores in a name as its code.
#define PORT(stream, member) stream##___05F##member

namespace {

struct Simulator {
    VerilatedContext context;
    Vtop top{&context};
#if VM_TRACE
    VerilatedVcdC waveform;
#endif
    uint64_t cycles = 0;
    double seconds = 0;

    std::vector<uint8_t> request, reply;
    size_t sent = 0;
    uint64_t want = 0, frames = 0;
    uint8_t end = 0;
    bool in_frame = false;

    void half(int clk) {
        top.clk = clk;
        top.eval();
#if VM_TRACE
        waveform.dump(context.time());
        context.timeInc(1);
#endif
    }

    bool done() const { return sent == request.size() && reply.size() >= want && frames == 0; }

    void received(uint8_t byte) {
        reply.push_back(byte);
        if (byte == end && in_frame && frames) frames--;
        in_frame = byte != end;
    }

#if LINE
    // The other end of the line: a start bit, eight bits, a stop bit, of so many cycles each. It counts in bits, so
    // that their time may change at any time, and bytes follow each other without rounding to cycles.
    static constexpr int STOP = 9, BITS = 10;
    double bit_cycles = 8, sent_bits = BITS, received_bits = BITS;  // BITS while the line is idle
    uint32_t sending = 0, receiving = 0;
    bool level = true;

    void drive() {
        if (sent_bits >= BITS && sent < request.size()) {
            sent_bits -= BITS;
            sending = request[sent++] << 1 | 1 << STOP;
        }
        top.rx = sent_bits >= BITS || (sending >> int(sent_bits) & 1);
        if (sent_bits < BITS) sent_bits += 1 / bit_cycles;
    }

    void sample() {
        const bool falls = level && !top.tx;
        level = top.tx;
        if (received_bits >= BITS && !falls) return;
        if (received_bits >= BITS) received_bits = 0;
        const int bit = received_bits + 0.5;
        received_bits += 1 / bit_cycles;
        if (int(received_bits + 0.5) == bit) return;
        receiving = receiving >> 1 | level << STOP;
        if (bit >= STOP || (bit == 0 && level)) received_bits = BITS;
        if (bit >= STOP && level) received(receiving >> 1);
    }
#else
    void drive() {
        const bool valid = sent < request.size();
        top.PORT(i, valid) = valid;
        top.PORT(i, payload) = valid ? request[sent] : 0;
        top.PORT(o, ready) = 1;
    }

    void sample() {
        if (top.PORT(i, valid) && top.PORT(i, ready)) sent++;
        if (top.PORT(o, valid)) received(top.PORT(o, payload));
    }
#endif

    void cycle() {
        drive();
        half(0);
        sample();
        half(1);
        cycles++;
    }
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT Simulator* simulator_open(const char* waveform) {
    auto* simulator = new Simulator;
#if VM_TRACE
    simulator->context.traceEverOn(true);
    simulator->top.trace(&simulator->waveform, 99);
    simulator->waveform.open(waveform);
#endif
    return simulator;
}

EXPORT void simulator_close(Simulator* simulator) {
    Verilated::threadContextp(&simulator->context);  // whose scopes end, and not those of the one opened last
    simulator->top.final();
#if VM_TRACE
    simulator->waveform.close();
#endif
    delete simulator;
}

EXPORT void simulator_reset(Simulator* simulator) {
    simulator->request.clear();
    simulator->sent = 0;
    simulator->top.rst = 1;
    simulator->cycle();
    simulator->top.rst = 0;
    simulator->in_frame = false;  // a byte may have come in that cycle
    simulator->cycles = 0;
    simulator->seconds = 0;
}

EXPORT void simulator_request(Simulator* simulator, const uint8_t* bytes, size_t size, uint64_t want, uint64_t frames,
                              uint8_t end) {
    simulator->request.assign(bytes, bytes + size);
    simulator->reply.clear();
    simulator->sent = 0;
    simulator->want = want;
    simulator->frames = frames;
    simulator->end = end;
}

// Runs until the request is sent and answered, at most `limit` cycles; says whether it is.
EXPORT int simulator_run(Simulator* simulator, uint64_t limit) {
    const auto start = std::chrono::steady_clock::now();
    for (uint64_t cycle = 0; cycle < limit && !simulator->done(); cycle++) simulator->cycle();
    simulator->seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
#if VM_TRACE
    simulator->waveform.flush();
#endif
    return simulator->done();
}

// Flips a bit of the memory of a scope; says whether there is such a bit.
EXPORT int simulator_flip(Simulator* simulator, const char* path, size_t address, size_t bit) {
    const VerilatedScope* const scope = simulator->context.scopeFind(path);
    const VerilatedVar* const memory = scope ? scope->varFind("storage") : nullptr;
    if (!memory || bit >= memory->entBits() || address >= memory->totalSize() / memory->entSize()) return false;
    static_cast<uint8_t*>(memory->datap())[address * memory->entSize() + bit / 8] ^= 1 << bit % 8;
    return true;
}

#if LINE
EXPORT void simulator_bit(Simulator* simulator, double cycles) { simulator->bit_cycles = cycles; }
#endif

#if TOGGLES
EXPORT uint64_t simulator_toggles(const Simulator* simulator, size_t index) {
    return simulator->top.toggles[2 * index] | uint64_t(simulator->top.toggles[2 * index + 1]) << 32;
}
#endif

EXPORT uint64_t simulator_sent(const Simulator* simulator) { return simulator->sent; }
EXPORT uint64_t simulator_replied(const Simulator* simulator) { return simulator->reply.size(); }
EXPORT const uint8_t* simulator_reply(const Simulator* simulator) { return simulator->reply.data(); }
EXPORT uint64_t simulator_cycles(const Simulator* simulator) { return simulator->cycles; }
EXPORT double simulator_seconds(const Simulator* simulator) { return simulator->seconds; }
