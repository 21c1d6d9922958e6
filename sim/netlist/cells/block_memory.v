// Block RAM of 18 kbit with two ports, as the ECP5 and Gowin's devices have it: 2048 lanes of 9 bits.
//
// A port is 1, 2, 4, 9, 18 or 36 bits wide. Its address counts bits, without the ninth of each lane, and words of 18
// and 36 bits have their lanes' write enables in the lowest bits of it. A write leaves a port's output as it was, or
// shows the new word where WRITE_THROUGH is set. A word that is read at one port while it is written at the other is
// undefined in the devices; here it is inverted, so that a design that uses it computes something else.
module setun_block_memory #(
    parameter WIDTH_A = 18, WIDTH_B = 18,
    parameter WRITE_THROUGH_A = 0, WRITE_THROUGH_B = 0,
    parameter REGISTERED_A = 0, REGISTERED_B = 0,
    parameter PITCH = 18,  // bits of INIT from one word of 18 bits to the next
    parameter [20479:0] INIT = 0
) (
    input clk_a, enable_a, write_a, output_enable_a,
    input [13:0] address_a,
    input [35:0] i_a,
    output [35:0] o_a,
    input clk_b, enable_b, write_b, output_enable_b,
    input [13:0] address_b,
    input [35:0] i_b,
    output [35:0] o_b
);
    function integer shift(input integer width);
        shift = width == 36 ? 5 : width == 18 ? 4 : width == 9 ? 3 : width == 4 ? 2 : width == 2 ? 1 : 0;
    endfunction

    localparam SHIFT = shift(WIDTH_A) > shift(WIDTH_B) ? shift(WIDTH_A) : shift(WIDTH_B);

    reg [8:0] lanes [0:2047];
    reg [35:0] word_a = 0, word_b = 0, last_a = 0, last_b = 0;
    integer index;
    initial for (index = 0; index < 1024; index = index + 1) begin
        lanes[2 * index] = INIT[index * PITCH +: 9];
        lanes[2 * index + 1] = INIT[index * PITCH + 9 +: 9];
    end

    function [35:0] read(input integer width, input [13:0] address);
        case (width)
            36: read = {lanes[{address[13:5], 2'd3}], lanes[{address[13:5], 2'd2}],
                        lanes[{address[13:5], 2'd1}], lanes[{address[13:5], 2'd0}]};
            18: read = {18'b0, lanes[{address[13:4], 1'b1}], lanes[{address[13:4], 1'b0}]};
            9: read = {27'b0, lanes[address[13:3]]};
            4: read = {32'b0, lanes[address[13:3]][{1'b0, address[2], 2'b0} +: 4]};
            2: read = {34'b0, lanes[address[13:3]][{1'b0, address[2:1], 1'b0} +: 2]};
            default: read = {35'b0, lanes[address[13:3]][{1'b0, address[2:0]}]};
        endcase
    endfunction

    // A lane with what is written into it.
    function [8:0] merge(input integer width, input [13:0] address, input [10:0] lane, input [35:0] i);
        begin
            merge = lanes[lane];
            case (width)
                36: if (address[lane[1:0]]) merge = i[lane[1:0] * 9 +: 9];
                18: if (address[{1'b0, lane[0]}]) merge = i[lane[0] * 9 +: 9];
                9: merge = i[8:0];
                4: merge[{1'b0, address[2], 2'b0} +: 4] = i[3:0];
                2: merge[{1'b0, address[2:1], 1'b0} +: 2] = i[1:0];
                default: merge[{1'b0, address[2:0]}] = i[0];
            endcase
        end
    endfunction

    wire writes_a = enable_a && write_a && (WIDTH_A < 18 || (WIDTH_A == 18 ? |address_a[1:0] : |address_a[3:0]));
    wire writes_b = enable_b && write_b && (WIDTH_B < 18 || (WIDTH_B == 18 ? |address_b[1:0] : |address_b[3:0]));
    wire same = address_a >> SHIFT == address_b >> SHIFT;
    wire [13:0] first_a = address_a >> shift(WIDTH_A) << shift(WIDTH_A);
    wire [13:0] first_b = address_b >> shift(WIDTH_B) << shift(WIDTH_B);

    genvar lane;
    generate
        for (lane = 0; lane < 4; lane = lane + 1) begin : writes
            if (lane * 9 < WIDTH_A) always @(posedge clk_a) if (enable_a && write_a)
                lanes[first_a[13:3] + lane] <= merge(WIDTH_A, address_a, first_a[13:3] + lane, i_a);
            if (lane * 9 < WIDTH_B) always @(posedge clk_b) if (enable_b && write_b)
                lanes[first_b[13:3] + lane] <= merge(WIDTH_B, address_b, first_b[13:3] + lane, i_b);
        end
    endgenerate

    always @(posedge clk_a) begin
        if (enable_a && !write_a) word_a <= read(WIDTH_A, address_a) ^ {36{same && writes_b}};
        else if (enable_a && WRITE_THROUGH_A) word_a <= i_a;
        if (output_enable_a) last_a <= word_a;
    end
    always @(posedge clk_b) begin
        if (enable_b && !write_b) word_b <= read(WIDTH_B, address_b) ^ {36{same && writes_a}};
        else if (enable_b && WRITE_THROUGH_B) word_b <= i_b;
        if (output_enable_b) last_b <= word_b;
    end
    assign o_a = REGISTERED_A ? last_a : word_a;
    assign o_b = REGISTERED_B ? last_b : word_b;
endmodule
