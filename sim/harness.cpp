// The clock loop around a design with byte streams i and o, or with -DLINE a serial line rx and tx, as a shared object
// that sim/simulator.py calls.

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "Vtop.h"
#include "verilated.h"
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
    // The other end of the line: a start bit, eight bits, a stop bit, of so many cycles each.
    static constexpr int BITS = 10;
    double bit_cycles = 8, send_start = -1e9, receive_start = 0;
    uint64_t time = 0;
    uint32_t sending = ~0u, receiving = 0;
    int received_bits = -1;  // -1 while the line is idle

    void drive() {
        if (time >= send_start + BITS * bit_cycles && sent < request.size()) {
            // Bytes that follow each other do so without rounding to cycles.
            const double next = send_start + BITS * bit_cycles;
            send_start = time - next < 1 ? next : double(time);
            sending = request[sent++] << 1 | 1 << (BITS - 1);
        }
        const int bit = int((time - send_start) / bit_cycles);
        top.rx = bit < BITS ? sending >> bit & 1 : 1;
    }

    void sample() {
        if (received_bits < 0 && !top.tx) {
            received_bits = 0;
            receiving = 0;
            receive_start = time;
        }
        if (received_bits >= 0 && time >= receive_start + (received_bits + 0.5) * bit_cycles) {
            receiving |= uint32_t(top.tx) << received_bits++;
            if (received_bits == 1 && receiving) received_bits = -1;
        }
        if (received_bits == BITS) {
            if (receiving >> (BITS - 1)) received(receiving >> 1);
            received_bits = -1;
        }
        time++;
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
    simulator->top.final();
#if VM_TRACE
    simulator->waveform.close();
#endif
    delete simulator;
}

EXPORT void simulator_reset(Simulator* simulator) {
    simulator->request.clear();
    simulator->sent = 0;
    simulator->in_frame = false;
    simulator->top.rst = 1;
    simulator->cycle();
    simulator->top.rst = 0;
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

EXPORT void simulator_bit(Simulator* simulator, double cycles) {
#if LINE
    simulator->bit_cycles = cycles;
#endif
}

EXPORT uint64_t simulator_sent(const Simulator* simulator) { return simulator->sent; }
EXPORT uint64_t simulator_replied(const Simulator* simulator) { return simulator->reply.size(); }
EXPORT const uint8_t* simulator_reply(const Simulator* simulator) { return simulator->reply.data(); }
EXPORT uint64_t simulator_cycles(const Simulator* simulator) { return simulator->cycles; }
EXPORT double simulator_seconds(const Simulator* simulator) { return simulator->seconds; }
