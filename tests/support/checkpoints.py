"""Random checkpoints, some in memory as if they were files; models of torch, and how ours agree with them."""

import copy

import numpy as np
import torch
import torch._dynamo
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitNetConfig
from transformers.integrations.bitnet import BitLinear, pack_weights

from setun.analysis.measure import measure_logits
from setun.cli.options import DEMO
from setun.formats.model_file import MATRICES, Architecture, ModelFile
from setun.formats.safetensors_file import hf_name
from setun.golden.closeness import closeness
from setun.golden.matvec import matvec
from setun.golden.model import Checkpoint, CheckpointLayer, Ternary
from setun.golden.reference import float_linear, float_quantise
from setun.golden.rotary import Rope


TEXT = np.frombuffer((DEMO / "held_out.txt").read_bytes(), np.uint8).astype(np.int64)
OFFLINE = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}
torch._dynamo.config.disable = True
torch.set_num_threads(1)  # several wait for each other where tests share the cores


def float_values(rng, kind, *shape, mean=0.0):
    """Random float32 that the type holds exactly."""
    values = rng.normal(mean, 0.3, shape).astype(np.float32)
    if kind == "BF16":
        return (values.view(np.uint32) & 0xffff0000).view(np.float32)
    return values.astype(np.float16).astype(np.float32) if kind == "F16" else values


def random_checkpoint(seed=0, *, vocab=300, context=32, hidden=64, inner=96, heads=4, kv_heads=2, layers=2,
                      head_dim=None, rope=Rope(1e4), activation="relu2", sub_norms=True, tied=True, kind="BF16"):
    """A checkpoint whose embedding is of a float type; scales are float32, norms bfloat16."""
    rng = np.random.default_rng(seed)
    head_dim = head_dim or hidden // heads
    queries, kv = head_dim * heads, head_dim * kv_heads

    def ternary(rows, columns):
        return Ternary(rng.integers(-1, 2, (rows, columns), np.int8), float(np.float32(rng.uniform(0.8, 1.2) / 8)))

    def norm(size):
        return float_values(rng, "BF16", size, mean=1.0)

    def sub_norm(size):
        return norm(size) if sub_norms else None

    return Checkpoint(
        vocab=vocab, context=context, hidden=hidden, inner=inner, heads=heads, kv_heads=kv_heads,
        head_dim=head_dim, rope=rope, eps=1e-5, activation=activation, embedding=float_values(rng, kind, vocab, hidden),
        layers=tuple(CheckpointLayer(
            q=ternary(queries, hidden), k=ternary(kv, hidden), v=ternary(kv, hidden), o=ternary(hidden, queries),
            gate=ternary(inner, hidden), up=ternary(inner, hidden), down=ternary(hidden, inner),
            attention_norm=norm(hidden), attention_sub_norm=sub_norm(queries), feed_forward_norm=norm(hidden),
            feed_forward_sub_norm=sub_norm(inner)) for _ in range(layers)),
        norm=norm(hidden), head=None if tied else float_values(rng, kind, vocab, hidden))


class InMemory(ModelFile):
    """A checkpoint as an open file."""

    def __init__(self, checkpoint, tokenizer=None, ends=()):
        super().__init__(__file__)
        self._checkpoint, self.tokenizer, self.ends = checkpoint, tokenizer, ends
        self.formats = checkpoint.formats
        same = set(checkpoint._fields) & set(Architecture.__struct_fields__) - {"layers"}
        theta, factor, bands = checkpoint.rope
        self.architecture = Architecture(layers=len(checkpoint.layers), tied=checkpoint.head is None, rope_theta=theta,
                                         rope_factor=factor, rope_bands=bands,
                                         sub_norms=checkpoint.layers[0].attention_sub_norm is not None,
                                         **{name: getattr(checkpoint, name) for name in same})

    def ternary(self, layer, name):
        return getattr(self._checkpoint.layers[layer], name)

    def norm(self, layer, name):
        return self._checkpoint.norm if layer is None else getattr(self._checkpoint.layers[layer], name)

    def rows(self, name, start, stop):
        return getattr(self._checkpoint, name)[start:stop]


class Wide(ModelFile):
    """Layers of the width of bitnet-b1.58-2B-4T, of which it has 30, and its vocabulary; the values repeat."""
    codes = np.random.default_rng(0).integers(-1, 2, 6912 * 2560 + 1000, np.int8)

    def __init__(self, layers):
        super().__init__(__file__)
        self.architecture = Architecture(vocab=128256, context=4096, hidden=2560, inner=6912, layers=layers, heads=20,
                                         kv_heads=5, head_dim=128, rope_theta=5e5,
                                         rope_factor=1.0, rope_bands=None, eps=1e-5, tied=True, activation="relu2",
                                         sub_norms=True)
        self._shapes = {(layer, name): shape for layer, name, shape in self.architecture.parts()}

    def ternary(self, layer, name):
        rows, columns = self._shapes[layer, name]
        return Ternary(self.codes[30 * layer:][:rows * columns].reshape(rows, columns), 1.0 + layer)

    def norm(self, layer, name):
        return np.ones(self._shapes[layer, name], np.float32)

    def rows(self, name, start, stop):
        return np.full((stop - start, 2560), 0.5, np.float32)


def assert_same(a, b):
    """Two checkpoints are equal in every bit of what a file of any kind holds."""
    rest = dict.fromkeys(("embedding", "head", "norm", "layers", "formats"))
    assert a._replace(**rest) == b._replace(**rest)
    assert (a.head is None) == (b.head is None) and len(a.layers) == len(b.layers)
    for x, y in [(a.embedding, b.embedding), (a.norm, b.norm), *([] if a.head is None else [(a.head, b.head)])]:
        assert x.dtype == y.dtype == np.float32 and x.tobytes() == y.tobytes()
    for x, y in zip(a.layers, b.layers):
        for name, first, second in zip(x._fields, x, y):
            if isinstance(first, Ternary):
                assert first.scale == second.scale, name
                first, second = first.codes, second.codes
            if first is None or second is None:
                assert first is second, name
                continue
            assert first.dtype == second.dtype and first.shape == second.shape and (first == second).all(), name


def random_model(kind=BitNetConfig, **changes):
    """A BitNetForCausalLM or LlamaForCausalLM of bytes, with float masters as transformers makes them."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(kind(**{
        "vocab_size": 256, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": 1,
        "eos_token_id": [2, 3], "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}} | changes))
    for name, weight in model.named_parameters():
        if "norm" in name:  # with weights alike, ratios of two bfloat16 are often ties, which a last bit decides
            torch.nn.init.uniform_(weight, .5, 1.5)
    return model


def quantised(folder, model, quantization, scale_of):
    """Write the folder of a model with its masters packed, and ``scale_of`` their absmean, as transformers reads it."""
    tensors = {}
    for name, value in model.state_dict().items():
        if name.endswith("_proj.weight"):
            scale = value.abs().mean()
            value = pack_weights((value / scale).round().clamp(-1, 1))
            tensors[name + "_scale"] = scale_of(scale).reshape(1)
        if name != "lm_head.weight" or not model.config.tie_word_embeddings:
            tensors[name] = value.contiguous()
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = copy.deepcopy(model.config)
    config.quantization_config = quantization
    config.save_pretrained(folder)
    return folder


def load_in_transformers(folder):
    """The model of a folder, in float32 throughout."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return torch.nn.Module.float(model)  # transformers leaves what is bfloat16 in the file as it is


def logits_of(model, tokens):
    """Logits of a model of torch, integers [B, T] -> float [B, T, V]."""
    found = model(tokens)
    return getattr(found, "logits", found)


def train(model, steps):
    """Train a model of bytes a little on the held-out text, so that its logits mean something."""
    torch.manual_seed(0)
    text, optimizer = torch.tensor(TEXT), torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        windows = text[torch.randint(len(text) - 65, (16, 1)) + torch.arange(65)]
        loss = F.cross_entropy(logits_of(model, windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def assert_linear_agrees(checkpoint, model, tokens, ternary, rel=0):
    """Linear layers of a checkpoint are those of a model of torch whose modules are called as in transformers.

    ``ternary(module)`` are the codes and the scale of a linear layer; scales may differ by the part ``rel``. Codes, the
    int8 activations and the int32 accumulators of each layer's own input are equal. Returns the model's logits.
    """
    seen = {}
    hooks = [model.get_submodule(hf_name(layer, name).removesuffix(".weight")).register_forward_hook(
        lambda module, given, result, key=(layer, name): seen.update({key: (module, given[0], result)}))
        for layer in range(len(checkpoint.layers)) for name in MATRICES]
    with torch.no_grad():
        logits = logits_of(model, torch.tensor(tokens)).numpy()
    for hook in hooks:
        hook.remove()
    assert len(seen) == 7 * len(checkpoint.layers)
    for (layer, name), (module, x, y) in seen.items():
        found, (codes, scale) = getattr(checkpoint.layers[layer], name), ternary(module)
        assert (found.codes == codes).all() and abs(found.scale / scale - 1) <= rel, (layer, name)
        activations, unit = float_quantise(x.numpy())
        assert (activations == BitLinear.activation_quant(None, x)[0].numpy()).all()
        accumulators = y.numpy().astype(np.float64) * unit / scale
        assert (np.rint(accumulators) == matvec(found.codes, activations.astype(np.int8))).all()
        assert np.abs(accumulators - np.rint(accumulators)).max() < 0.02
        assert np.abs(float_linear(x.numpy(), found) - y.numpy()).max() <= 1e-6 * np.abs(y.numpy()).max()
    return logits


def assert_agrees(checkpoint, model, ternary, rel=0):
    """A checkpoint is that of a trained model of torch, as ``assert_linear_agrees`` tells.

    Float logits agree to 1e-5 in the median, integer logits to 5e-4 nats.
    """
    tokens, targets = TEXT[:512].reshape(8, 64), TEXT[1:513].reshape(8, 64)
    logits = assert_linear_agrees(checkpoint, model, tokens, ternary, rel)
    ours = {numerics: measure_logits(checkpoint, tokens, numerics) for numerics in ("float", "integer")}
    assert np.median(np.abs(ours["float"] - logits) / np.abs(logits)) < 1e-5
    result = closeness(ours["integer"], logits, targets)
    assert result.reference_loss < 3 and abs(result.loss - result.reference_loss) < 0.005
    assert result.divergence < 5e-4 and result.agreement > 0.98
