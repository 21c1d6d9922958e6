// An accelerator in somebody's own design: sends the bytes of request.hex and writes what comes back to reply.hex.
`timescale 1ns / 1ns
module core_bench;
  parameter BYTES = 1, ANSWERS = 1, LIMIT = 100000;  // ANSWERS are frames
  localparam [7:0] END = 8'hc0;

  reg clk = 0, rst = 1;
  reg [7:0] request [0:BYTES-1];
  reg inside = 0;  // a frame of the reply
  reg [31:0] noise = 32'd1958;
  integer sent = 0, received = 0, cycle = 0, file;
  wire i_ready, o_valid;
  wire [7:0] o_payload;
  wire i_valid = sent < BYTES;
  wire o_ready = noise[0];  // takes a byte every other cycle, by chance

  setun dut (
    .clk(clk), .rst(rst),
    .i__payload(request[i_valid ? sent : 0]), .i__valid(i_valid), .i__ready(i_ready),
    .o__payload(o_payload), .o__valid(o_valid), .o__ready(o_ready));

  always #5 clk = ~clk;

  initial begin
    $readmemh("request.hex", request);
    file = $fopen("reply.hex", "w");
    repeat (4) @(negedge clk);
    rst = 0;
  end

  always @(posedge clk) if (!rst) begin
    cycle <= cycle + 1;
    noise <= {noise[30:0], noise[31] ^ noise[21] ^ noise[1] ^ noise[0]};
    if (i_valid && i_ready) sent <= sent + 1;
    if (o_valid && o_ready) begin
      $fdisplay(file, "%02x", o_payload);
      inside <= o_payload != END;
      if (o_payload == END && inside) received <= received + 1;
    end
    if (received == ANSWERS || cycle == LIMIT) begin
      $display("%0d of %0d bytes sent, %0d answers in %0d cycles", sent, BYTES, received, cycle);
      $finish;
    end
  end
endmodule
