"""Freeze a tiny random BitNet and what transformers makes of it: bitnet_tiny/ and transformers_bitnet.npz.

Made with torch 2.13.0, transformers 5.23.0 and accelerate 1.15.0. transformers leaves tensors that are bfloat16 in the
file as they are, whatever dtype is asked for, so that the parameters are widened after loading.

    python tests/data/make_transformers_bitnet.py
"""

import json
import pathlib

import numpy as np
import torch
import torch._dynamo
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM


HERE = pathlib.Path(__file__).parent
CONFIG = {
    "architectures": ["BitNetForCausalLM"],
    "model_type": "bitnet",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "hidden_act": "relu2",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
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


def random_tensors(generator):
    def normal(*shape, mean=0.0, deviation=1.0):
        return (torch.randn(shape, generator=generator) * deviation + mean).to(torch.bfloat16)

    hidden, inner, kv = 32, 48, 16
    tensors = {"model.embed_tokens.weight": normal(64, hidden, deviation=0.5),
               "model.norm.weight": normal(hidden, mean=1.0, deviation=0.3)}
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        for name, rows, columns in (("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", kv, hidden),
                                    ("self_attn.v_proj", kv, hidden), ("self_attn.o_proj", hidden, hidden),
                                    ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden),
                                    ("mlp.down_proj", hidden, inner)):
            codes = torch.randint(3, (rows, columns), generator=generator, dtype=torch.uint8)
            first, second, third, fourth = codes.chunk(4)
            tensors[f"{prefix}.{name}.weight"] = first | second << 2 | third << 4 | fourth << 6
            tensors[f"{prefix}.{name}.weight_scale"] = normal(1, mean=columns ** -0.5, deviation=0.02)
        for name, size in (("input_layernorm", hidden), ("self_attn.attn_sub_norm", hidden),
                           ("post_attention_layernorm", hidden), ("mlp.ffn_sub_norm", inner)):
            tensors[f"{prefix}.{name}.weight"] = normal(size, mean=1.0, deviation=0.3)
    return tensors


def main():
    torch._dynamo.config.disable = True
    generator = torch.Generator().manual_seed(1958)
    folder = HERE / "bitnet_tiny"
    folder.mkdir(exist_ok=True)
    save_file(random_tensors(generator), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    tokens = torch.randint(64, (4, 32), generator=generator)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.nn.Module.float(model)
    with torch.no_grad():
        logits = model(tokens).logits
    np.savez_compressed(HERE / "transformers_bitnet.npz", tokens=tokens.numpy().astype(np.uint8), logits=logits.numpy())


if __name__ == "__main__":
    main()
