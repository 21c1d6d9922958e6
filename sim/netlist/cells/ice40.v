// Lattice iCE40: the cells of which yosys has no model that Verilator takes.

// PLL (FPGA-TN-02052), whose output is simulated, and its input as fast; it locks after some cycles.
module SB_PLL40_PAD (input PACKAGEPIN, RESETB, BYPASS, output PLLOUTGLOBAL, LOCK);
    parameter FEEDBACK_PATH = "SIMPLE", DIVR = 4'b0, DIVF = 7'b0, DIVQ = 3'b0, FILTER_RANGE = 3'b0;

    always @(posedge PACKAGEPIN) if (!RESETB || BYPASS) $fatal(1, "SB_PLL40_PAD: without a model");

    reg [3:0] age = 0;
    always @(posedge PACKAGEPIN) age <= age + !LOCK;
    assign LOCK = &age;
    assign PLLOUTGLOBAL = PACKAGEPIN;
endmodule

// Pad of one direction, without registers (iCE40 Technology Library, SB_IO).
module SB_IO (inout PACKAGE_PIN, input CLOCK_ENABLE, OUTPUT_ENABLE, D_OUT_0, output D_IN_0);
    parameter PIN_TYPE = 6'b000001, PULLUP = 0, IO_STANDARD = "SB_LVCMOS";
    localparam INPUT = PIN_TYPE == 6'b000001;  // else an output with an enable

    generate
        if (INPUT) assign D_IN_0 = PACKAGE_PIN;
        else assign PACKAGE_PIN = D_OUT_0;
    endgenerate
    always @(*) if (!INPUT && (PIN_TYPE != 6'b101001 || !OUTPUT_ENABLE)) $fatal(1, "SB_IO: without a model");
endmodule
