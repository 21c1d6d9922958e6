"""The float model of random structures is that of transformers, and the integer model comes near to both."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, BitNetConfig, LlamaConfig
from transformers.integrations.bitnet import AutoBitLinear, replace_with_bitnet_linear
from transformers.utils.quantization_config import BitNetQuantConfig

from setun.formats.model_file import MATRICES
from setun.formats.safetensors_file import hf_name
from setun.golden.closeness import closeness
from setun.golden.decoder import empty_cache, step
from setun.golden.fixed import to_fixed
from setun.golden.reference import forward
from setun.golden.rotary import Rope
from setun.golden.scalars import to_float
from tests.support.checkpoints import random_checkpoint


TOKENS = np.random.default_rng(0).integers(0, 64, (8, 8))
ROPES = {
    Rope(1e4): {"rope_type": "default"},
    Rope(5e5, 3.0): {"rope_type": "linear", "factor": 3.0},
    Rope(1e4, 8.0, (1.0, 4.0, 16)): {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                     "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
}


@st.composite
def structures(draw):
    """Arguments of random_checkpoint; transformers' BitNet has heads that fill the hidden size."""
    kv_heads, sub_norms = draw(st.sampled_from([1, 2, 3])), draw(st.booleans())
    heads = kv_heads * draw(st.sampled_from([1, 2, 4]))
    head_dim = 2 * draw(st.integers(2, 12))
    return {"seed": draw(st.integers(0, 1000)), "vocab": 64, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim,
            "hidden": heads * head_dim if sub_norms else heads * draw(st.integers(6, 30)),
            "inner": 4 * draw(st.integers(4, 40)), "layers": draw(st.integers(1, 3)), "sub_norms": sub_norms,
            "activation": draw(st.sampled_from(["relu2", "silu"])), "tied": draw(st.booleans()),
            "rope": draw(st.sampled_from(list(ROPES)))}


def of_transformers(checkpoint):
    """The checkpoint as a model of transformers, whose linear layers are AutoBitLinear and multiply by the scale."""
    llama = checkpoint.layers[0].attention_sub_norm is None
    config = (LlamaConfig if llama else BitNetConfig)(
        vocab_size=checkpoint.vocab, hidden_size=checkpoint.hidden, intermediate_size=checkpoint.inner,
        num_hidden_layers=len(checkpoint.layers), num_attention_heads=checkpoint.heads,
        num_key_value_heads=checkpoint.kv_heads, head_dim=checkpoint.head_dim, hidden_act=checkpoint.activation,
        max_position_embeddings=64, rms_norm_eps=checkpoint.eps, tie_word_embeddings=checkpoint.head is None,
        bos_token_id=None, eos_token_id=None,
        rope_parameters=ROPES[checkpoint.rope] | {"rope_theta": checkpoint.rope.theta})
    model = AutoModelForCausalLM.from_config(config).float().eval()
    replace_with_bitnet_linear(model, ["lm_head"], BitNetQuantConfig(
        linear_class="autobitlinear", quantization_mode="offline"))
    values = {hf_name(None, "embedding"): checkpoint.embedding, hf_name(None, "norm"): checkpoint.norm,
              hf_name(None, "head"): checkpoint.embedding if checkpoint.head is None else checkpoint.head}
    for index, layer in enumerate(checkpoint.layers):
        for name, value in layer._asdict().items():
            if name in MATRICES:
                values[hf_name(index, name)] = value.codes.astype(np.float32)
                values[hf_name(index, name) + "_scale"] = np.array([value.scale], np.float32)
            elif value is not None:
                values[hf_name(index, name)] = value
    model.to_empty(device="cpu")
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in values.items()}, strict=False)
    for module in model.modules():  # what is no weight was left without values
        if hasattr(module, "compute_default_rope_parameters"):
            module.__init__(config)
    assert sum(isinstance(module, AutoBitLinear) for module in model.modules()) == 7 * len(checkpoint.layers)
    return model


@given(structures())
@settings(deadline=None, max_examples=25)
def test_transformers(structure):
    checkpoint = random_checkpoint(**structure)
    with torch.no_grad():
        theirs = of_transformers(checkpoint)(torch.from_numpy(TOKENS)).logits.numpy()
    ours = forward(checkpoint, TOKENS)
    # In a few sequences a last bit decides a tie of the quantiser, and all that follows differs.
    assert np.median(np.abs(ours - theirs) / np.abs(theirs), axis=(1, 2)).min() < 1e-5
    model = to_fixed(checkpoint)
    cache, found = empty_cache(model, len(TOKENS)), []
    for position, token in enumerate(TOKENS.T):
        logits, scale, cache = step(model, token, position, cache)
        found.append(logits * to_float(scale)[:, None])
    result = closeness(np.stack(found, 1), theirs, np.roll(TOKENS, -1, 1))
    assert result.divergence < .1  # of random weights; those of trained models come to 5e-4
