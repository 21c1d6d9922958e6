"""1bitLLM's BitnetForCausalLM in torch, written from the description of its published code and from nothing of ours.

It is LLaMA with an RMSNorm ``inner_attn_ln`` before o_proj and another, ``ffn_layernorm``, before down_proj. Its linear
layers keep float masters and quantise them anew each time they are used; gradients go straight through.
"""

import json

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn


__all__ = ["BitnetForCausalLM", "save", "weight_quant"]


CONFIG = {
    "architectures": ["BitnetForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1,
    "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.02, "input_bits": 8,
    "intermediate_size": 160, "max_position_embeddings": 128, "model_type": "llama", "num_attention_heads": 4,
    "num_hidden_layers": 2, "num_key_value_heads": 4, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": None,
    "rope_theta": 10000.0, "tie_word_embeddings": True, "torch_dtype": "float16", "use_cache": True, "vocab_size": 256,
    "weight_bits": 1,
}


def weight_quant(weight):
    s = 1 / weight.abs().mean().clamp(min=1e-5)
    return (weight * s).round().clamp(-1, 1) / s


def activation_quant(x):
    s = 127 / x.abs().max(dim=-1, keepdim=True).values.clamp(min=1e-5)
    return (x * s).round().clamp(-128, 127) / s


class BitLinear(nn.Linear):
    def forward(self, x):
        x = x + (activation_quant(x) - x).detach() if self.training else activation_quant(x)
        weight = weight_quant(self.weight)
        return F.linear(x, self.weight + (weight - self.weight).detach() if self.training else weight)


class BitnetAttention(nn.Module):
    def __init__(self, size, heads, kv_heads, eps, theta):
        super().__init__()
        self.heads, self.kv_heads, self.theta = heads, kv_heads, theta
        self.q_proj, self.o_proj = (BitLinear(size, size, bias=False) for _ in range(2))
        self.k_proj, self.v_proj = (BitLinear(size, size // heads * kv_heads, bias=False) for _ in range(2))
        self.inner_attn_ln = nn.RMSNorm(size, eps=eps)

    def forward(self, x):
        batch, length, size = x.shape
        q, k, v = (part(x).view(batch, length, -1, size // self.heads).transpose(1, 2)
                   for part in (self.q_proj, self.k_proj, self.v_proj))
        steps = torch.arange(0, q.shape[-1], 2, dtype=torch.float32) / q.shape[-1]
        angles = torch.arange(length, dtype=torch.float32)[:, None] * (1 / self.theta ** steps)
        cos, sin = (torch.cat([part, part], -1) for part in (angles.cos(), angles.sin()))
        q, k = (y * cos + torch.cat([-y[..., y.shape[-1] // 2:], y[..., :y.shape[-1] // 2]], -1) * sin for y in (q, k))
        k, v = (y.repeat_interleave(self.heads // self.kv_heads, dim=1) for y in (k, v))
        scores = q @ k.transpose(2, 3) / (size // self.heads) ** 0.5
        scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), float("-inf"))
        x = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, size)
        return self.o_proj(self.inner_attn_ln(x))


class BitnetMLP(nn.Module):
    def __init__(self, size, inner, eps):
        super().__init__()
        self.gate_proj, self.up_proj = (BitLinear(size, inner, bias=False) for _ in range(2))
        self.down_proj, self.ffn_layernorm = BitLinear(inner, size, bias=False), nn.RMSNorm(inner, eps=eps)

    def forward(self, x):
        return self.down_proj(self.ffn_layernorm(F.silu(self.gate_proj(x)) * self.up_proj(x)))


class BitnetDecoderLayer(nn.Module):
    def __init__(self, size, inner, heads, kv_heads, eps, theta):
        super().__init__()
        self.self_attn, self.mlp = BitnetAttention(size, heads, kv_heads, eps, theta), BitnetMLP(size, inner, eps)
        self.input_layernorm, self.post_attention_layernorm = (nn.RMSNorm(size, eps=eps) for _ in range(2))

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class BitnetForCausalLM(nn.Module):
    def __init__(self, **changes):
        super().__init__()
        self.config = CONFIG | changes
        size, inner, vocab, heads, kv_heads, eps, theta = (self.config[key] for key in (
            "hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "num_key_value_heads",
            "rms_norm_eps", "rope_theta"))
        self.model = nn.ModuleDict({
            "embed_tokens": nn.Embedding(vocab, size), "norm": nn.RMSNorm(size, eps=eps),
            "layers": nn.ModuleList(BitnetDecoderLayer(size, inner, heads, kv_heads, eps, theta)
                                    for _ in range(self.config["num_hidden_layers"]))})
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=self.config["initializer_range"])
        self.lm_head = nn.Linear(size, vocab, bias=False)
        if self.config["tie_word_embeddings"]:
            self.lm_head.weight = self.model["embed_tokens"].weight

    def forward(self, tokens):
        x = self.model["embed_tokens"](tokens)
        for layer in self.model["layers"]:
            x = layer(x)
        return self.lm_head(self.model["norm"](x))


def save(model, folder):
    """Write a folder as its authors do: the parameters under their names, of tied ones the first."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(model.config))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()
               if name != "lm_head.weight" or not model.config["tie_word_embeddings"]}, folder / "model.safetensors")
