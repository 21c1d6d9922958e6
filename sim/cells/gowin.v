// Block RAM of Gowin's GW2A, in words of 9, 18 and 36 bits: yosys 0.69 has no more than its ports. After Gowin UG285, and
// yosys' gowin/brams_map.v for byte enables and initial contents. A word that is read while it is written comes out as
// it was.

module SDPX9B #(
    parameter READ_MODE = 0, BIT_WIDTH_0 = 36, BIT_WIDTH_1 = 36, BLK_SEL_0 = 0, BLK_SEL_1 = 0, RESET_MODE = "SYNC",
    parameter [287:0] INIT_RAM_00 = 0, INIT_RAM_01 = 0, INIT_RAM_02 = 0, INIT_RAM_03 = 0, INIT_RAM_04 = 0, INIT_RAM_05 = 0, INIT_RAM_06 = 0, INIT_RAM_07 = 0,
    parameter [287:0] INIT_RAM_08 = 0, INIT_RAM_09 = 0, INIT_RAM_0A = 0, INIT_RAM_0B = 0, INIT_RAM_0C = 0, INIT_RAM_0D = 0, INIT_RAM_0E = 0, INIT_RAM_0F = 0,
    parameter [287:0] INIT_RAM_10 = 0, INIT_RAM_11 = 0, INIT_RAM_12 = 0, INIT_RAM_13 = 0, INIT_RAM_14 = 0, INIT_RAM_15 = 0, INIT_RAM_16 = 0, INIT_RAM_17 = 0,
    parameter [287:0] INIT_RAM_18 = 0, INIT_RAM_19 = 0, INIT_RAM_1A = 0, INIT_RAM_1B = 0, INIT_RAM_1C = 0, INIT_RAM_1D = 0, INIT_RAM_1E = 0, INIT_RAM_1F = 0,
    parameter [287:0] INIT_RAM_20 = 0, INIT_RAM_21 = 0, INIT_RAM_22 = 0, INIT_RAM_23 = 0, INIT_RAM_24 = 0, INIT_RAM_25 = 0, INIT_RAM_26 = 0, INIT_RAM_27 = 0,
    parameter [287:0] INIT_RAM_28 = 0, INIT_RAM_29 = 0, INIT_RAM_2A = 0, INIT_RAM_2B = 0, INIT_RAM_2C = 0, INIT_RAM_2D = 0, INIT_RAM_2E = 0, INIT_RAM_2F = 0,
    parameter [287:0] INIT_RAM_30 = 0, INIT_RAM_31 = 0, INIT_RAM_32 = 0, INIT_RAM_33 = 0, INIT_RAM_34 = 0, INIT_RAM_35 = 0, INIT_RAM_36 = 0, INIT_RAM_37 = 0,
    parameter [287:0] INIT_RAM_38 = 0, INIT_RAM_39 = 0, INIT_RAM_3A = 0, INIT_RAM_3B = 0, INIT_RAM_3C = 0, INIT_RAM_3D = 0, INIT_RAM_3E = 0, INIT_RAM_3F = 0
) (
    input CLKA, CEA, CLKB, CEB, OCE, RESETA, RESETB,
    input [2:0] BLKSELA, BLKSELB, input [13:0] ADA, ADB, input [35:0] DI, output [35:0] DO
);
    reg [8:0] mem [0:2047];
    integer i, j;
    reg [287:0] init [0:63];
    initial begin
        init[0] = INIT_RAM_00; init[1] = INIT_RAM_01; init[2] = INIT_RAM_02; init[3] = INIT_RAM_03;
        init[4] = INIT_RAM_04; init[5] = INIT_RAM_05; init[6] = INIT_RAM_06; init[7] = INIT_RAM_07;
        init[8] = INIT_RAM_08; init[9] = INIT_RAM_09; init[10] = INIT_RAM_0A; init[11] = INIT_RAM_0B;
        init[12] = INIT_RAM_0C; init[13] = INIT_RAM_0D; init[14] = INIT_RAM_0E; init[15] = INIT_RAM_0F;
        init[16] = INIT_RAM_10; init[17] = INIT_RAM_11; init[18] = INIT_RAM_12; init[19] = INIT_RAM_13;
        init[20] = INIT_RAM_14; init[21] = INIT_RAM_15; init[22] = INIT_RAM_16; init[23] = INIT_RAM_17;
        init[24] = INIT_RAM_18; init[25] = INIT_RAM_19; init[26] = INIT_RAM_1A; init[27] = INIT_RAM_1B;
        init[28] = INIT_RAM_1C; init[29] = INIT_RAM_1D; init[30] = INIT_RAM_1E; init[31] = INIT_RAM_1F;
        init[32] = INIT_RAM_20; init[33] = INIT_RAM_21; init[34] = INIT_RAM_22; init[35] = INIT_RAM_23;
        init[36] = INIT_RAM_24; init[37] = INIT_RAM_25; init[38] = INIT_RAM_26; init[39] = INIT_RAM_27;
        init[40] = INIT_RAM_28; init[41] = INIT_RAM_29; init[42] = INIT_RAM_2A; init[43] = INIT_RAM_2B;
        init[44] = INIT_RAM_2C; init[45] = INIT_RAM_2D; init[46] = INIT_RAM_2E; init[47] = INIT_RAM_2F;
        init[48] = INIT_RAM_30; init[49] = INIT_RAM_31; init[50] = INIT_RAM_32; init[51] = INIT_RAM_33;
        init[52] = INIT_RAM_34; init[53] = INIT_RAM_35; init[54] = INIT_RAM_36; init[55] = INIT_RAM_37;
        init[56] = INIT_RAM_38; init[57] = INIT_RAM_39; init[58] = INIT_RAM_3A; init[59] = INIT_RAM_3B;
        init[60] = INIT_RAM_3C; init[61] = INIT_RAM_3D; init[62] = INIT_RAM_3E; init[63] = INIT_RAM_3F;
        for (i = 0; i < 64; i = i + 1)
            for (j = 0; j < 32; j = j + 1)
                mem[32 * i + j] = init[i][9 * j +: 9];
    end

    reg [35:0] word, data;
    always @(posedge CLKB) begin
        if (CEB) case (BIT_WIDTH_1)
            36: word <= {mem[{ADB[13:5], 2'd3}], mem[{ADB[13:5], 2'd2}], mem[{ADB[13:5], 2'd1}], mem[{ADB[13:5], 2'd0}]};
            18: word <= {18'b0, mem[{ADB[13:4], 1'd1}], mem[{ADB[13:4], 1'd0}]};
            default: word <= {27'b0, mem[ADB[13:3]]};
        endcase
        if (OCE) data <= word;
    end
    always @(posedge CLKA) if (CEA) case (BIT_WIDTH_0)
        36: begin
            if (ADA[0]) mem[{ADA[13:5], 2'd0}] <= DI[8:0];
            if (ADA[1]) mem[{ADA[13:5], 2'd1}] <= DI[17:9];
            if (ADA[2]) mem[{ADA[13:5], 2'd2}] <= DI[26:18];
            if (ADA[3]) mem[{ADA[13:5], 2'd3}] <= DI[35:27];
        end
        18: begin
            if (ADA[0]) mem[{ADA[13:4], 1'd0}] <= DI[8:0];
            if (ADA[1]) mem[{ADA[13:4], 1'd1}] <= DI[17:9];
        end
        default: mem[ADA[13:3]] <= DI[8:0];
    endcase
    assign DO = READ_MODE ? data : word;
endmodule

module DPX9B #(
    parameter READ_MODE0 = 0, READ_MODE1 = 0, WRITE_MODE0 = 0, WRITE_MODE1 = 0, BIT_WIDTH_0 = 18, BIT_WIDTH_1 = 18,
    parameter BLK_SEL_0 = 0, BLK_SEL_1 = 0, RESET_MODE = "SYNC",
    parameter [287:0] INIT_RAM_00 = 0, INIT_RAM_01 = 0, INIT_RAM_02 = 0, INIT_RAM_03 = 0, INIT_RAM_04 = 0, INIT_RAM_05 = 0, INIT_RAM_06 = 0, INIT_RAM_07 = 0,
    parameter [287:0] INIT_RAM_08 = 0, INIT_RAM_09 = 0, INIT_RAM_0A = 0, INIT_RAM_0B = 0, INIT_RAM_0C = 0, INIT_RAM_0D = 0, INIT_RAM_0E = 0, INIT_RAM_0F = 0,
    parameter [287:0] INIT_RAM_10 = 0, INIT_RAM_11 = 0, INIT_RAM_12 = 0, INIT_RAM_13 = 0, INIT_RAM_14 = 0, INIT_RAM_15 = 0, INIT_RAM_16 = 0, INIT_RAM_17 = 0,
    parameter [287:0] INIT_RAM_18 = 0, INIT_RAM_19 = 0, INIT_RAM_1A = 0, INIT_RAM_1B = 0, INIT_RAM_1C = 0, INIT_RAM_1D = 0, INIT_RAM_1E = 0, INIT_RAM_1F = 0,
    parameter [287:0] INIT_RAM_20 = 0, INIT_RAM_21 = 0, INIT_RAM_22 = 0, INIT_RAM_23 = 0, INIT_RAM_24 = 0, INIT_RAM_25 = 0, INIT_RAM_26 = 0, INIT_RAM_27 = 0,
    parameter [287:0] INIT_RAM_28 = 0, INIT_RAM_29 = 0, INIT_RAM_2A = 0, INIT_RAM_2B = 0, INIT_RAM_2C = 0, INIT_RAM_2D = 0, INIT_RAM_2E = 0, INIT_RAM_2F = 0,
    parameter [287:0] INIT_RAM_30 = 0, INIT_RAM_31 = 0, INIT_RAM_32 = 0, INIT_RAM_33 = 0, INIT_RAM_34 = 0, INIT_RAM_35 = 0, INIT_RAM_36 = 0, INIT_RAM_37 = 0,
    parameter [287:0] INIT_RAM_38 = 0, INIT_RAM_39 = 0, INIT_RAM_3A = 0, INIT_RAM_3B = 0, INIT_RAM_3C = 0, INIT_RAM_3D = 0, INIT_RAM_3E = 0, INIT_RAM_3F = 0
) (
    input CLKA, CEA, CLKB, CEB, OCEA, OCEB, RESETA, RESETB, WREA, WREB,
    input [2:0] BLKSELA, BLKSELB, input [13:0] ADA, ADB, input [17:0] DIA, DIB, output [17:0] DOA, DOB
);
    reg [8:0] mem [0:2047];
    integer i, j;
    reg [287:0] init [0:63];
    initial begin
        init[0] = INIT_RAM_00; init[1] = INIT_RAM_01; init[2] = INIT_RAM_02; init[3] = INIT_RAM_03;
        init[4] = INIT_RAM_04; init[5] = INIT_RAM_05; init[6] = INIT_RAM_06; init[7] = INIT_RAM_07;
        init[8] = INIT_RAM_08; init[9] = INIT_RAM_09; init[10] = INIT_RAM_0A; init[11] = INIT_RAM_0B;
        init[12] = INIT_RAM_0C; init[13] = INIT_RAM_0D; init[14] = INIT_RAM_0E; init[15] = INIT_RAM_0F;
        init[16] = INIT_RAM_10; init[17] = INIT_RAM_11; init[18] = INIT_RAM_12; init[19] = INIT_RAM_13;
        init[20] = INIT_RAM_14; init[21] = INIT_RAM_15; init[22] = INIT_RAM_16; init[23] = INIT_RAM_17;
        init[24] = INIT_RAM_18; init[25] = INIT_RAM_19; init[26] = INIT_RAM_1A; init[27] = INIT_RAM_1B;
        init[28] = INIT_RAM_1C; init[29] = INIT_RAM_1D; init[30] = INIT_RAM_1E; init[31] = INIT_RAM_1F;
        init[32] = INIT_RAM_20; init[33] = INIT_RAM_21; init[34] = INIT_RAM_22; init[35] = INIT_RAM_23;
        init[36] = INIT_RAM_24; init[37] = INIT_RAM_25; init[38] = INIT_RAM_26; init[39] = INIT_RAM_27;
        init[40] = INIT_RAM_28; init[41] = INIT_RAM_29; init[42] = INIT_RAM_2A; init[43] = INIT_RAM_2B;
        init[44] = INIT_RAM_2C; init[45] = INIT_RAM_2D; init[46] = INIT_RAM_2E; init[47] = INIT_RAM_2F;
        init[48] = INIT_RAM_30; init[49] = INIT_RAM_31; init[50] = INIT_RAM_32; init[51] = INIT_RAM_33;
        init[52] = INIT_RAM_34; init[53] = INIT_RAM_35; init[54] = INIT_RAM_36; init[55] = INIT_RAM_37;
        init[56] = INIT_RAM_38; init[57] = INIT_RAM_39; init[58] = INIT_RAM_3A; init[59] = INIT_RAM_3B;
        init[60] = INIT_RAM_3C; init[61] = INIT_RAM_3D; init[62] = INIT_RAM_3E; init[63] = INIT_RAM_3F;
        for (i = 0; i < 64; i = i + 1)
            for (j = 0; j < 32; j = j + 1)
                mem[32 * i + j] = init[i][9 * j +: 9];
    end

    reg [17:0] word_a, word_b, data_a, data_b;
    always @(posedge CLKA) begin
        if (CEA && !WREA)
            word_a <= BIT_WIDTH_0 == 18 ? {mem[{ADA[13:4], 1'd1}], mem[{ADA[13:4], 1'd0}]} : {9'b0, mem[ADA[13:3]]};
        if (OCEA) data_a <= word_a;
        if (CEA && WREA) begin
            if (BIT_WIDTH_0 == 18) begin
                if (ADA[0]) mem[{ADA[13:4], 1'd0}] <= DIA[8:0];
                if (ADA[1]) mem[{ADA[13:4], 1'd1}] <= DIA[17:9];
            end else mem[ADA[13:3]] <= DIA[8:0];
        end
    end
    always @(posedge CLKB) begin
        if (CEB && !WREB)
            word_b <= BIT_WIDTH_1 == 18 ? {mem[{ADB[13:4], 1'd1}], mem[{ADB[13:4], 1'd0}]} : {9'b0, mem[ADB[13:3]]};
        if (OCEB) data_b <= word_b;
        if (CEB && WREB) begin
            if (BIT_WIDTH_1 == 18) begin
                if (ADB[0]) mem[{ADB[13:4], 1'd0}] <= DIB[8:0];
                if (ADB[1]) mem[{ADB[13:4], 1'd1}] <= DIB[17:9];
            end else mem[ADB[13:3]] <= DIB[8:0];
        end
    end
    assign DOA = READ_MODE0 ? data_a : word_a;
    assign DOB = READ_MODE1 ? data_b : word_b;
endmodule
