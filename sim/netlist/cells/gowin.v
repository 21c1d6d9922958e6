// Gowin: the block RAM with nine bits in a lane and the multipliers, of which yosys has no model (UG285, BSRAM; UG287,
// DSP). Without resets and block selects, and without the multipliers' registers, which synthesis leaves out.

`define INITIAL_PARAMETERS \
    parameter [287:0] \
    INIT_RAM_00 = 0, INIT_RAM_01 = 0, INIT_RAM_02 = 0, INIT_RAM_03 = 0, INIT_RAM_04 = 0, INIT_RAM_05 = 0, \
    INIT_RAM_06 = 0, INIT_RAM_07 = 0, INIT_RAM_08 = 0, INIT_RAM_09 = 0, INIT_RAM_0A = 0, INIT_RAM_0B = 0, \
    INIT_RAM_0C = 0, INIT_RAM_0D = 0, INIT_RAM_0E = 0, INIT_RAM_0F = 0, INIT_RAM_10 = 0, INIT_RAM_11 = 0, \
    INIT_RAM_12 = 0, INIT_RAM_13 = 0, INIT_RAM_14 = 0, INIT_RAM_15 = 0, INIT_RAM_16 = 0, INIT_RAM_17 = 0, \
    INIT_RAM_18 = 0, INIT_RAM_19 = 0, INIT_RAM_1A = 0, INIT_RAM_1B = 0, INIT_RAM_1C = 0, INIT_RAM_1D = 0, \
    INIT_RAM_1E = 0, INIT_RAM_1F = 0, INIT_RAM_20 = 0, INIT_RAM_21 = 0, INIT_RAM_22 = 0, INIT_RAM_23 = 0, \
    INIT_RAM_24 = 0, INIT_RAM_25 = 0, INIT_RAM_26 = 0, INIT_RAM_27 = 0, INIT_RAM_28 = 0, INIT_RAM_29 = 0, \
    INIT_RAM_2A = 0, INIT_RAM_2B = 0, INIT_RAM_2C = 0, INIT_RAM_2D = 0, INIT_RAM_2E = 0, INIT_RAM_2F = 0, \
    INIT_RAM_30 = 0, INIT_RAM_31 = 0, INIT_RAM_32 = 0, INIT_RAM_33 = 0, INIT_RAM_34 = 0, INIT_RAM_35 = 0, \
    INIT_RAM_36 = 0, INIT_RAM_37 = 0, INIT_RAM_38 = 0, INIT_RAM_39 = 0, INIT_RAM_3A = 0, INIT_RAM_3B = 0, \
    INIT_RAM_3C = 0, INIT_RAM_3D = 0, INIT_RAM_3E = 0, INIT_RAM_3F = 0;
`define INITIAL_WORDS { \
    INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, INIT_RAM_3B, INIT_RAM_3A, INIT_RAM_39, INIT_RAM_38, \
    INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, INIT_RAM_33, INIT_RAM_32, INIT_RAM_31, INIT_RAM_30, \
    INIT_RAM_2F, INIT_RAM_2E, INIT_RAM_2D, INIT_RAM_2C, INIT_RAM_2B, INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28, \
    INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24, INIT_RAM_23, INIT_RAM_22, INIT_RAM_21, INIT_RAM_20, \
    INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D, INIT_RAM_1C, INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18, \
    INIT_RAM_17, INIT_RAM_16, INIT_RAM_15, INIT_RAM_14, INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10, \
    INIT_RAM_0F, INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, INIT_RAM_0B, INIT_RAM_0A, INIT_RAM_09, INIT_RAM_08, \
    INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, INIT_RAM_03, INIT_RAM_02, INIT_RAM_01, INIT_RAM_00}

// One port.
module SPX9 (
    output [35:0] DO,
    input [35:0] DI,
    input [2:0] BLKSEL,
    input [13:0] AD,
    input WRE, CLK, CE, OCE, RESET
);
    parameter READ_MODE = 0, WRITE_MODE = 0, BIT_WIDTH = 36, BLK_SEL = 0, RESET_MODE = "SYNC";
    `INITIAL_PARAMETERS

    always @(posedge CLK) if (RESET || BLKSEL != BLK_SEL || WRE && WRITE_MODE > 1) $fatal(1, "SPX9 without a model");

    setun_block_memory #(
        .WIDTH_A(BIT_WIDTH), .WIDTH_B(BIT_WIDTH), .INIT(`INITIAL_WORDS), .REGISTERED_A(READ_MODE),
        .WRITE_THROUGH_A(WRITE_MODE)
    ) memory (
        .clk_a(CLK), .enable_a(CE), .write_a(WRE), .output_enable_a(OCE), .address_a(AD), .i_a(DI), .o_a(DO),
        .clk_b(CLK), .enable_b(1'b0), .write_b(1'b0), .output_enable_b(1'b0), .address_b(14'b0), .i_b(36'b0), .o_b());
endmodule

// One port that writes and one that reads.
module SDPX9B (
    input CLKA, CEA, CLKB, CEB, OCE, RESETA, RESETB,
    input [13:0] ADA, ADB,
    input [2:0] BLKSELA, BLKSELB,
    input [35:0] DI,
    output [35:0] DO
);
    parameter READ_MODE = 0, BIT_WIDTH_0 = 36, BIT_WIDTH_1 = 36, BLK_SEL_0 = 0, BLK_SEL_1 = 0, RESET_MODE = "SYNC";
    `INITIAL_PARAMETERS

    always @(posedge CLKA) if (RESETA || BLKSELA != BLK_SEL_0) $fatal(1, "SDPX9B: port A without a model");
    always @(posedge CLKB) if (RESETB || BLKSELB != BLK_SEL_1) $fatal(1, "SDPX9B: port B without a model");

    setun_block_memory #(
        .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .INIT(`INITIAL_WORDS), .REGISTERED_B(READ_MODE)
    ) memory (
        .clk_a(CLKA), .enable_a(CEA), .write_a(1'b1), .output_enable_a(1'b0), .address_a(ADA), .i_a(DI), .o_a(),
        .clk_b(CLKB), .enable_b(CEB), .write_b(1'b0), .output_enable_b(OCE), .address_b(ADB), .i_b(36'b0), .o_b(DO));
endmodule

// Two ports.
module DPX9B (
    input CLKA, CEA, CLKB, CEB, OCEA, OCEB, RESETA, RESETB, WREA, WREB,
    input [13:0] ADA, ADB,
    input [17:0] DIA, DIB,
    input [2:0] BLKSELA, BLKSELB,
    output [17:0] DOA, DOB
);
    parameter READ_MODE0 = 0, READ_MODE1 = 0, WRITE_MODE0 = 0, WRITE_MODE1 = 0;
    parameter BIT_WIDTH_0 = 18, BIT_WIDTH_1 = 18, BLK_SEL_0 = 0, BLK_SEL_1 = 0, RESET_MODE = "SYNC";
    `INITIAL_PARAMETERS

    always @(posedge CLKA)
        if (RESETA || BLKSELA != BLK_SEL_0 || WRITE_MODE0 > 1) $fatal(1, "DPX9B: port A without a model");
    always @(posedge CLKB)
        if (RESETB || BLKSELB != BLK_SEL_1 || WRITE_MODE1 > 1) $fatal(1, "DPX9B: port B without a model");

    wire [17:0] unused_a, unused_b;
    setun_block_memory #(
        .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .INIT(`INITIAL_WORDS),
        .REGISTERED_A(READ_MODE0), .REGISTERED_B(READ_MODE1),
        .WRITE_THROUGH_A(WRITE_MODE0), .WRITE_THROUGH_B(WRITE_MODE1)
    ) memory (
        .clk_a(CLKA), .enable_a(CEA), .write_a(WREA), .output_enable_a(OCEA), .address_a(ADA), .i_a({18'b0, DIA}),
        .o_a({unused_a, DOA}),
        .clk_b(CLKB), .enable_b(CEB), .write_b(WREB), .output_enable_b(OCEB), .address_b(ADB), .i_b({18'b0, DIB}),
        .o_b({unused_b, DOB}));
endmodule

module MULT9X9 (
    output [17:0] DOUT,
    output [8:0] SOA, SOB,
    input [8:0] A, SIA, B, SIB,
    input ASIGN, BSIGN, CE, CLK, RESET, ASEL, BSEL
);
    parameter AREG = 1'b0, BREG = 1'b0, OUT_REG = 1'b0, PIPE_REG = 1'b0, ASIGN_REG = 1'b0, BSIGN_REG = 1'b0;
    parameter SOA_REG = 1'b0, MULT_RESET_MODE = "SYNC";
    wire signed [9:0] a = {ASIGN & A[8], A}, b = {BSIGN & B[8], B};
    assign DOUT = a * b;
    initial if (AREG || BREG || OUT_REG || PIPE_REG) $fatal(1, "MULT9X9: without a model of its registers");
endmodule

module MULT18X18 (
    output [35:0] DOUT,
    output [17:0] SOA, SOB,
    input [17:0] A, SIA, B, SIB,
    input ASIGN, BSIGN, CE, CLK, RESET, ASEL, BSEL
);
    parameter AREG = 1'b0, BREG = 1'b0, OUT_REG = 1'b0, PIPE_REG = 1'b0, ASIGN_REG = 1'b0, BSIGN_REG = 1'b0;
    parameter SOA_REG = 1'b0, MULT_RESET_MODE = "SYNC";
    wire signed [18:0] a = {ASIGN & A[17], A}, b = {BSIGN & B[17], B};
    assign DOUT = a * b;
    initial if (AREG || BREG || OUT_REG || PIPE_REG) $fatal(1, "MULT18X18: without a model of its registers");
endmodule
