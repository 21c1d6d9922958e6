// Block RAM of the ECP5 as a memory with a write port A and a read port B, the one use that is made of it: yosys 0.69
// has no more than its ports. After Lattice FPGA-TN-02204, and yosys' lattice/brams_map_16kd.v for the pins of 36 bits
// and the initial contents. A word that is read while it is written comes out as it was.

module DP16KD #(
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC",
    parameter ASYNC_RESET_RELEASE = "SYNC", CSDECODE_A = "0b000", CSDECODE_B = "0b000", WRITEMODE_A = "NORMAL",
    parameter WRITEMODE_B = "NORMAL", GSR = "ENABLED", CLKAMUX = "CLKA", CLKBMUX = "CLKB", WID = 0,
    parameter INIT_DATA = "STATIC",
    parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 =
        0, INITVAL_06 = 0, INITVAL_07 = 0,
    parameter [319:0] INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0, INITVAL_0D =
        0, INITVAL_0E = 0, INITVAL_0F = 0,
    parameter [319:0] INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 =
        0, INITVAL_16 = 0, INITVAL_17 = 0,
    parameter [319:0] INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D =
        0, INITVAL_1E = 0, INITVAL_1F = 0,
    parameter [319:0] INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 =
        0, INITVAL_26 = 0, INITVAL_27 = 0,
    parameter [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D =
        0, INITVAL_2E = 0, INITVAL_2F = 0,
    parameter [319:0] INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 =
        0, INITVAL_36 = 0, INITVAL_37 = 0,
    parameter [319:0] INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0, INITVAL_3C = 0, INITVAL_3D =
        0, INITVAL_3E = 0, INITVAL_3F = 0
) (
    input CLKA, CEA, OCEA, WEA, RSTA, CSA2, CSA1, CSA0, CLKB, CEB, OCEB, WEB, RSTB, CSB2, CSB1, CSB0,
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2,
        DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2,
        DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0
);
    wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [35:0] di = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
        DIB3, DIB2, DIB1, DIB0, DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6,
        DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};

    // Bits lie as in INITVAL: 18 of each 20.
    reg [17:0] mem [0:1023];
    integer i, j;
    reg [319:0] init [0:63];
    initial begin
        init[0] = INITVAL_00; init[1] = INITVAL_01; init[2] = INITVAL_02; init[3] = INITVAL_03;
        init[4] = INITVAL_04; init[5] = INITVAL_05; init[6] = INITVAL_06; init[7] = INITVAL_07;
        init[8] = INITVAL_08; init[9] = INITVAL_09; init[10] = INITVAL_0A; init[11] = INITVAL_0B;
        init[12] = INITVAL_0C; init[13] = INITVAL_0D; init[14] = INITVAL_0E; init[15] = INITVAL_0F;
        init[16] = INITVAL_10; init[17] = INITVAL_11; init[18] = INITVAL_12; init[19] = INITVAL_13;
        init[20] = INITVAL_14; init[21] = INITVAL_15; init[22] = INITVAL_16; init[23] = INITVAL_17;
        init[24] = INITVAL_18; init[25] = INITVAL_19; init[26] = INITVAL_1A; init[27] = INITVAL_1B;
        init[28] = INITVAL_1C; init[29] = INITVAL_1D; init[30] = INITVAL_1E; init[31] = INITVAL_1F;
        init[32] = INITVAL_20; init[33] = INITVAL_21; init[34] = INITVAL_22; init[35] = INITVAL_23;
        init[36] = INITVAL_24; init[37] = INITVAL_25; init[38] = INITVAL_26; init[39] = INITVAL_27;
        init[40] = INITVAL_28; init[41] = INITVAL_29; init[42] = INITVAL_2A; init[43] = INITVAL_2B;
        init[44] = INITVAL_2C; init[45] = INITVAL_2D; init[46] = INITVAL_2E; init[47] = INITVAL_2F;
        init[48] = INITVAL_30; init[49] = INITVAL_31; init[50] = INITVAL_32; init[51] = INITVAL_33;
        init[52] = INITVAL_34; init[53] = INITVAL_35; init[54] = INITVAL_36; init[55] = INITVAL_37;
        init[56] = INITVAL_38; init[57] = INITVAL_39; init[58] = INITVAL_3A; init[59] = INITVAL_3B;
        init[60] = INITVAL_3C; init[61] = INITVAL_3D; init[62] = INITVAL_3E; init[63] = INITVAL_3F;
        for (i = 0; i < 64; i = i + 1)
            for (j = 0; j < 16; j = j + 1)
                mem[16 * i + j] = init[i][20 * j +: 18];
    end

    // Words of 1, 2 and 4 bits leave out the ninth bit of each byte.
    reg [35:0] word, data;
    wire [9:0] row_a = ada[13:4], row_b = adb[13:4];

    always @(posedge CLKB) if (CEB) begin
        case (DATA_WIDTH_B)
            36: word <= {mem[{row_b[9:1], 1'b1}], mem[{row_b[9:1], 1'b0}]};
            18: word <= {18'b0, mem[row_b]};
            9: word <= {27'b0, mem[row_b][9 * adb[3] +: 9]};
            4: word <= {32'b0, mem[row_b][9 * adb[3] + 4 * adb[2] +: 4]};
            2: word <= {34'b0, mem[row_b][9 * adb[3] + 2 * adb[2:1] +: 2]};
            1: word <= {35'b0, mem[row_b][9 * adb[3] + adb[2:0]]};
        endcase
    end
    always @(posedge CLKB) if (OCEB) data <= word;

    always @(posedge CLKA) if (CEA && WEA) begin
        case (DATA_WIDTH_A)
            36: begin
                if (ada[0]) mem[{row_a[9:1], 1'b0}][8:0] <= di[8:0];
                if (ada[1]) mem[{row_a[9:1], 1'b0}][17:9] <= di[17:9];
                if (ada[2]) mem[{row_a[9:1], 1'b1}][8:0] <= di[26:18];
                if (ada[3]) mem[{row_a[9:1], 1'b1}][17:9] <= di[35:27];
            end
            18: begin
                if (ada[0]) mem[row_a][8:0] <= di[8:0];
                if (ada[1]) mem[row_a][17:9] <= di[17:9];
            end
            9: mem[row_a][9 * ada[3] +: 9] <= di[8:0];
            4: mem[row_a][9 * ada[3] + 4 * ada[2] +: 4] <= di[3:0];
            2: mem[row_a][9 * ada[3] + 2 * ada[2:1] +: 2] <= di[1:0];
            1: mem[row_a][9 * ada[3] + ada[2:0]] <= di[0];
        endcase
    end

    wire [35:0] o = REGMODE_B == "OUTREG" ? data : word;
    // 36 bits leave at both ports, the lower half at A.
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0} = DATA_WIDTH_B == 36 ? o[17:0] : 18'b0;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0} = DATA_WIDTH_B == 36 ? o[35:18] : o[17:0];
endmodule
