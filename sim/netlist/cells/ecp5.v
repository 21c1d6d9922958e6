// Lattice ECP5: the cells of which yosys has no model, or none that Verilator takes.

// Block RAM (FPGA-TN-02204, sysMEM).
//
// A word of 36 bits is written through port A and read through port B, at the pins of both. Without resets, chip selects
// and inverted clocks.
module DP16KD (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2,
          DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
           DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2,
          DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
           DOB1, DOB0
);
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
    parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "ENABLED";
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", CLKAMUX = "CLKA", CLKBMUX = "CLKB";
    parameter [319:0]
        INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0,
        INITVAL_06 = 0, INITVAL_07 = 0, INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0,
        INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0, INITVAL_10 = 0, INITVAL_11 = 0,
        INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0,
        INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0,
        INITVAL_1E = 0, INITVAL_1F = 0, INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0,
        INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0, INITVAL_28 = 0, INITVAL_29 = 0,
        INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0,
        INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0,
        INITVAL_36 = 0, INITVAL_37 = 0, INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0,
        INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0;

    // Words of 18 bits lie 20 bits apart.
    localparam [20479:0] INIT = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38, INITVAL_37,
        INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E,
        INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25,
        INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C,
        INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13,
        INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A,
        INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01,
        INITVAL_00};

    wire [17:0] i_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
                       DIA3, DIA2, DIA1, DIA0};
    wire [17:0] i_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
                       DIB3, DIB2, DIB1, DIB0};
    wire [35:0] o_a, o_b;
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
            DOA1, DOA0}
        = DATA_WIDTH_B == 36 ? o_b[17:0] : o_a[17:0];
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
            DOB1, DOB0}
        = DATA_WIDTH_B == 36 ? o_b[35:18] : o_b[17:0];

    always @(posedge CLKA) if (RSTA || CSA0 || CSA1 || CSA2) $fatal(1, "DP16KD: port A without a model");
    always @(posedge CLKB) if (RSTB || CSB0 || CSB1 || CSB2) $fatal(1, "DP16KD: port B without a model");
    // The halves of a word of 36 bits leave at both ports: which output enable holds them is not documented.
    always @(posedge CLKB) if (DATA_WIDTH_B == 36 && REGMODE_B == "OUTREG" && OCEA != OCEB)
        $fatal(1, "DP16KD: the output enables of a word of 36 bits differ");

    setun_block_memory #(
        .WIDTH_A(DATA_WIDTH_A), .WIDTH_B(DATA_WIDTH_B), .PITCH(20), .INIT(INIT),
        .REGISTERED_A(REGMODE_A == "OUTREG"), .REGISTERED_B(REGMODE_B == "OUTREG"),
        .WRITE_THROUGH_A(WRITEMODE_A == "WRITETHROUGH"), .WRITE_THROUGH_B(WRITEMODE_B == "WRITETHROUGH")
    ) memory (
        .clk_a(CLKA), .enable_a(CEA), .write_a(WEA), .output_enable_a(OCEA), .i_a({i_b, i_a}), .o_a(o_a),
        .address_a({ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0}),
        .clk_b(CLKB), .enable_b(CEB), .write_b(WEB), .output_enable_b(OCEB), .i_b({18'b0, i_b}), .o_b(o_b),
        .address_b({ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0}));
endmodule

// Multiplier of 18 bits (FPGA-TN-02205, sysDSP), with its registers, of factors with and without signs.
module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input CLK3, CLK2, CLK1, CLK0, CE3, CE2, CE1, CE0, RST3, RST2, RST1, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14,
           P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
    parameter REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "CE0", REG_PIPELINE_RST = "RST0";
    parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
    parameter RESETMODE = "SYNC", GSR = "ENABLED";

    // A register that has no clock is left out.
    wire signed [18:0] a_in = {SIGNEDA & A17, A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2,
                               A1, A0};
    wire signed [18:0] b_in = {SIGNEDB & B17, B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2,
                               B1, B0};
    reg signed [18:0] a_held, b_held;
    reg signed [37:0] product_held, o_held;
    wire signed [18:0] a = REG_INPUTA_CLK == "CLK0" ? a_held : a_in, b = REG_INPUTB_CLK == "CLK0" ? b_held : b_in;
    wire signed [37:0] product = a * b, o = REG_PIPELINE_CLK == "CLK0" ? product_held : product;
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
            P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0}
        = REG_OUTPUT_CLK == "CLK0" ? o_held[35:0] : o[35:0];
    always @(posedge CLK0) begin
        if (RST0 || !CE0 || SOURCEA || SOURCEB) $fatal(1, "MULT18X18D: without a model");
        a_held <= a_in;
        b_held <= b_in;
        product_held <= product;
        o_held <= o;
    end
endmodule

// PLL (FPGA-TN-02200, sysCLOCK), whose output is simulated, and its input as fast; it locks after some cycles.
module EHXPLLL (
    input CLKI, CLKFB, RST, STDBY, PHASESEL1, PHASESEL0, PHASEDIR, PHASESTEP, PHASELOADREG, PLLWAKESYNC, ENCLKOP,
    output CLKOP, LOCK
);
    parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 1, CLKOP_CPHASE = 0, CLKOP_FPHASE = 0;
    parameter CLKOP_ENABLE = "ENABLED", FEEDBK_PATH = "CLKOP", PLLRST_ENA = "DISABLED", INTFB_WAKE = "DISABLED";
    parameter STDBY_ENABLE = "DISABLED", DPHASE_SOURCE = "DISABLED", OUTDIVIDER_MUXA = "DIVA";
    parameter OUTDIVIDER_MUXB = "DIVB", OUTDIVIDER_MUXC = "DIVC", OUTDIVIDER_MUXD = "DIVD";

    always @(posedge CLKI) if (RST || STDBY) $fatal(1, "EHXPLLL: a reset has no model");

    reg [3:0] age = 0;
    always @(posedge CLKI) age <= age + !LOCK;
    assign LOCK = &age;
    assign CLKOP = CLKI;
endmodule

// Gate of a clock, which opens and closes while that is low.
module DCCA (input CLKI, CE, output CLKO);
    reg open = 0;
    always @(*) if (!CLKI) open = CE;
    assign CLKO = CLKI & open;
endmodule

// Pad of one direction.
module TRELLIS_IO (inout B, input I, T, output O);
    parameter DIR = "INPUT";
    generate
        if (DIR == "INPUT") assign O = B;
        else assign B = I;
    endgenerate
    always @(*) if (DIR != "INPUT" && (DIR != "OUTPUT" || T)) $fatal(1, "TRELLIS_IO: without a model");
endmodule
