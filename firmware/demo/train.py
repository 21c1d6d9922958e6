"""Train the shipped model: a byte-level BitNet b1.58 on the King James Bible.

Needs the extra ``train`` (torch) and Debian's ``bible-kjv`` for the text. The model is quantisation-aware from the
first step (arXiv 2402.17764): master weights in float32, ternary absmean weights and int8 absmax activations in the
forward pass, straight-through gradients. It is written as a checkpoint that transformers loads: ``config.json`` and
``model.safetensors`` with weights packed four to a byte, scales and norms in bfloat16.

    python firmware/demo/train.py --output build/demo
"""

import argparse
import json
import math
import pathlib
import re
import subprocess
import time

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn


CONFIG = {
    "architectures": ["BitNetForCausalLM"],
    "model_type": "bitnet",
    "vocab_size": 256,
    "hidden_size": 160,
    "intermediate_size": 480,
    "num_hidden_layers": 4,
    "num_attention_heads": 5,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "hidden_act": "relu2",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
    "use_cache": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "torch_dtype": "bfloat16",
    "quantization_config": {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "offline",
    },
}
HELD_OUT_EVERY = 24  # every 24th chapter is never trained on


def read_corpus():
    """Text of the King James Bible, one verse a line, split by chapters into (training, held-out) bytes."""
    text = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True).stdout
    chapters = {}
    for line in text.splitlines():
        reference, verse = line.split(" ", 1)
        chapters.setdefault(re.fullmatch(r"(.+):\d+", reference)[1], []).append(verse.strip() + "\n")
    train, held_out = [], []
    for index, verses in enumerate(chapters.values()):
        (held_out if index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else train).append("".join(verses))
    return "\n".join(train).encode("ascii"), "\n".join(held_out).encode("ascii")


class QuantizeActivations(torch.autograd.Function):
    """int8 per-token absmax, straight-through."""

    @staticmethod
    def forward(ctx, x):
        scale = 127 / x.abs().amax(-1, keepdim=True).clamp_(min=1e-5)
        return (x * scale).round_().div_(scale)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class QuantizeWeights(torch.autograd.Function):
    """Ternary per-tensor absmean, straight-through."""

    @staticmethod
    def forward(ctx, w):
        scale = w.abs().mean().clamp_(min=1e-5)
        return (w / scale).round_().clamp_(-1, 1).mul_(scale)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def linear(x, *layers):
    weight = torch.cat([QuantizeWeights.apply(layer.weight) for layer in layers])
    return F.linear(QuantizeActivations.apply(x), weight)


def rotate(x, cos, sin):
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat((-high, low), -1) * sin


class Attention(nn.Module):
    def __init__(self, hidden, heads, kv_heads, eps):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, hidden // heads
        kv = kv_heads * self.head_dim
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, kv, bias=False)
        self.v_proj = nn.Linear(hidden, kv, bias=False)
        self.o_proj = nn.Linear(hidden, hidden, bias=False)
        self.attn_sub_norm = nn.RMSNorm(hidden, eps=eps)

    def forward(self, x, cos, sin):
        batch, length, hidden = x.shape
        kv = self.kv_heads * self.head_dim
        qkv = linear(x, self.q_proj, self.k_proj, self.v_proj).split((hidden, kv, kv), -1)
        q, k, v = (y.view(batch, length, -1, self.head_dim).transpose(1, 2) for y in qkv)
        o = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True,
                                           enable_gqa=True)
        return linear(self.attn_sub_norm(o.transpose(1, 2).reshape(batch, length, hidden)), self.o_proj)


class FeedForward(nn.Module):
    def __init__(self, hidden, inner, eps):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)
        self.ffn_sub_norm = nn.RMSNorm(inner, eps=eps)

    def forward(self, x):
        gate, up = linear(x, self.gate_proj, self.up_proj).chunk(2, -1)
        return linear(self.ffn_sub_norm(F.relu(gate).square() * up), self.down_proj)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, eps = config["hidden_size"], config["rms_norm_eps"]
        self.input_layernorm = nn.RMSNorm(hidden, eps=eps)
        self.self_attn = Attention(hidden, config["num_attention_heads"], config["num_key_value_heads"], eps)
        self.post_attention_layernorm = nn.RMSNorm(hidden, eps=eps)
        self.mlp = FeedForward(hidden, config["intermediate_size"], eps)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class BitNet(nn.Module):
    """Parameter names are those of transformers' BitNetForCausalLM without the prefix ``model.``."""

    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = nn.RMSNorm(config["hidden_size"], eps=config["rms_norm_eps"])
        head_dim = config["hidden_size"] // config["num_attention_heads"]
        frequency = config["rope_theta"] ** (-torch.arange(0, head_dim, 2) / head_dim)
        angle = torch.outer(torch.arange(config["max_position_embeddings"]), frequency).repeat(1, 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02 if "embed" in name else parameter.shape[1] ** -0.5)

    def forward(self, tokens):
        length = tokens.shape[1]
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.cos[:length], self.sin[:length])
        return F.linear(self.norm(x), self.embed_tokens.weight)


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by five Newton-Schulz steps (Jordan 2024), in float32.

    torch.optim.Muon iterates in bfloat16, which a CPU without bfloat16 arithmetic runs eighteen times slower.
    """

    def __init__(self, parameters, *, lr, momentum=0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(average, group["momentum"])
                tall = update.shape[0] > update.shape[1]
                x = update.mT if tall else update
                x = x / (x.norm() + 1e-7)
                for _ in range(5):
                    square = x @ x.mT
                    x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
                scale = max(1, p.shape[0] / p.shape[1]) ** 0.5
                p.sub_(x.mT if tall else x, alpha=group["lr"] * scale)


def batches(data, length, batch, generator):
    while True:
        start = torch.randint(len(data) - length - 1, (batch, 1), generator=generator)
        window = data[start + torch.arange(length + 1)].long()
        yield window[:, :-1], window[:, 1:]


@torch.no_grad()
def held_out_loss(model, data, length):
    """Mean cross-entropy in nats per byte over consecutive windows, each predicted from its own start."""
    count = (len(data) - 1) // length
    x = data[:count * length].view(count, length).long()
    y = data[1:count * length + 1].view(count, length).long()
    losses = [F.cross_entropy(model(a).flatten(0, 1), b.flatten(), reduction="sum")
              for a, b in zip(x.split(32), y.split(32))]
    return (sum(losses) / (count * length)).item()


def packed(weight):
    """float32 [N, K] -> uint8 [N/4, K] and bfloat16 [1]; rows r, r + N/4, ... share a byte, low bits first."""
    scale = weight.abs().mean().clamp(min=1e-5)
    codes = (weight / scale).round().clamp(-1, 1).to(torch.uint8) + 1
    low, second, third, high = (codes & 3).chunk(4)
    return low | second << 2 | third << 4 | high << 6, scale.view(1).to(torch.bfloat16)


def save(model, folder):
    tensors = {}
    for name, parameter in model.named_parameters():
        name, value = f"model.{name}", parameter.detach()
        if name.endswith("_proj.weight"):
            tensors[name], tensors[name + "_scale"] = packed(value)
        else:
            tensors[name] = value.to(torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--batch", type=int, default=8, help="sequences of 256 bytes a step")
    parser.add_argument("--lr", type=float, default=0.01, help="Muon's, for the ternary matrices")
    parser.add_argument("--lr-other", type=float, default=0.004, help="AdamW's, for embedding and norms")
    parser.add_argument("--decay", type=float, default=0.5, help="last share of the steps, in which lr falls to 0")
    parser.add_argument("--seed", type=int, default=1958)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("build/demo"))
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    length = CONFIG["max_position_embeddings"]
    train_text, held_out_text = read_corpus()
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "held_out.txt").write_bytes(held_out_text)
    train, held_out = (torch.frombuffer(bytearray(text), dtype=torch.uint8) for text in (train_text, held_out_text))
    model = BitNet(CONFIG)
    forward = torch.compile(model)
    matrices = [p for n, p in model.named_parameters() if n.endswith("_proj.weight")]
    others = [p for n, p in model.named_parameters() if not n.endswith("_proj.weight")]
    optimizers = [Muon(matrices, lr=options.lr),
                  torch.optim.AdamW(others, lr=options.lr_other, betas=(0.9, 0.98), weight_decay=0.0)]
    schedulers = [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / 100, 1, (options.steps - step) / (options.steps * options.decay))) for optimizer in optimizers]
    print(f"{sum(p.numel() for p in matrices):,} ternary weights, {sum(p.numel() for p in others):,} others, "
          f"{len(train):,} training bytes, {len(held_out):,} held out", flush=True)

    start, running = time.monotonic(), 0.0
    for step, (x, y) in zip(range(1, options.steps + 1), batches(train, length, options.batch, generator)):
        loss = F.cross_entropy(forward(x).flatten(0, 1), y.flatten())
        loss.backward()
        for optimizer, scheduler in zip(optimizers, schedulers):
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        running += loss.item()
        if step % 50 == 0:
            tokens = step * options.batch * length
            print(f"step {step} loss {running / 50:.4f} tokens/s {tokens / (time.monotonic() - start):.0f}", flush=True)
            running = 0.0
        if step % 500 == 0 or step == options.steps:
            save(model, options.output)
            nats = held_out_loss(model, held_out, length)
            print(f"step {step} held out {nats:.4f} nats = {nats / math.log(2):.4f} bits a byte", flush=True)


if __name__ == "__main__":
    main()
