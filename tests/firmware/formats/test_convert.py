"""The commands convert, logits and run on models of every format that is written."""

import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
from gguf import GGMLQuantizationType

from setun.analysis.measure import measure_logits
from setun.cli.options import DEMO
from setun.formats.checkpoint import load, open_checkpoint
from setun.formats.convert import convert
from setun.formats.model_file import MATRICES
from setun.formats.tokenizer import LLAMA_3, gguf_vocabulary
from tests.campaigns.large import MAIN, command
from tests.firmware.cli.test_main import assert_refused, invoke
from tests.firmware.formats.test_gguf_file import write_tq
from tests.firmware.formats.test_tokenizer import byte_level
from tests.support.checkpoints import OFFLINE, InMemory, Wide, quantised, random_checkpoint, random_model


FILES = {"hf": "folder", "tq2": "tq2.gguf", "gguf-i2s": "model.gguf", "setun": "model.setun"}


@pytest.fixture(scope="module")
def formats(tmp_path_factory):
    """A model with a tokenizer in each format: as transformers reads it, of the package gguf, and by the command."""
    folder = tmp_path_factory.mktemp("formats")
    tokenizer = byte_level((DEMO / "held_out.txt").read_text().splitlines(), LLAMA_3)
    model = random_model(vocab_size=512, hidden_size=256, intermediate_size=256, num_hidden_layers=1, hidden_act="silu",
                         max_position_embeddings=40, tie_word_embeddings=True)
    quantised(folder / FILES["hf"], model, OFFLINE, lambda scale: scale.half().float())  # as of TQ2_0's scales
    (folder / FILES["hf"] / "tokenizer.json").write_bytes(tokenizer.json)
    checkpoint = load(folder / FILES["hf"])
    write_tq(folder / FILES["tq2"], checkpoint, GGMLQuantizationType.TQ2_0,
             fields=gguf_vocabulary(tokenizer, 512, folder) | {"tokenizer.ggml.eos_token_id": 2})
    for source, form in (("tq2", "gguf-i2s"), ("gguf-i2s", "setun")):
        result = invoke("convert", folder / FILES[source], folder / FILES[form], "--format", form)
        assert result.exit_code == 0 and FILES[form] in result.output, result.output
    return checkpoint, tokenizer, {form: folder / name for form, name in FILES.items()}


def test_same_codes(formats, tmp_path):
    checkpoint, _, paths = formats
    for path in paths.values():
        result = invoke("inspect", path, "--json", tmp_path / "found.json")
        assert result.exit_code == 0, result.output
        tensors = json.loads((tmp_path / "found.json").read_text())["tensors"]
        found = {entry["name"]: entry for entry in tensors.values()}
        for name in MATRICES:
            codes, scale = getattr(checkpoint.layers[0], name)
            assert found[name]["codes_sha256"] == hashlib.sha256(codes.tobytes()).hexdigest()
            assert found[name]["scale"] == scale


def test_same_text(formats, tmp_path):
    """The same weights in four formats give the same text on the RTL, through their own tokenizers."""
    checkpoint, tokenizer, paths = formats
    runs = {}
    for form, path in paths.items():
        result = invoke("run", path, "--prompt", "And the earth", "--tokens", 4, "--config", "16x20", "--json",
                        tmp_path / "run.json")
        assert result.exit_code == 0, result.output
        runs[form] = json.loads((tmp_path / "run.json").read_text())
    run = runs["hf"]
    assert run["prompt"] == "And the earth" and run["mismatches"] == 0
    assert run["text"] == tokenizer.decode(run["token_ids"]) and max(run["token_ids"]) >= 256
    for other in runs.values():
        assert [other[name] for name in ("text", "token_ids", "cycles_per_token")] == [
            run[name] for name in ("text", "token_ids", "cycles_per_token")]


def test_run_ends(tmp_path):
    """Text ends where the model ends it."""
    checkpoint = random_checkpoint(12, vocab=512, hidden=32, inner=32)
    ends = ()
    for count in (5, 2):
        convert(InMemory(checkpoint, ends=ends), tmp_path / "model", "setun", force=True)
        result = invoke("run", tmp_path / "model", "--prompt", "A", "--tokens", 5, "--config", "16x20", "--json",
                        tmp_path / "run.json")
        assert result.exit_code == 0, result.output
        run = json.loads((tmp_path / "run.json").read_text())
        assert run["tokens"] == len(run["token_ids"]) == len(run["cycles_per_token"]) == count
        ends = (run["token_ids"][1],)


@pytest.mark.parametrize("numerics", ["float", "integer"])
def test_logits(formats, tmp_path, numerics):
    checkpoint, _, paths = formats
    expected = measure_logits(checkpoint, np.array([[1, 2, 511]]), numerics)[0].astype(np.float32)
    for path in paths.values():
        result = invoke("logits", path, "--token-ids", "1,2,511", "--numerics", numerics, "--output",
                        tmp_path / "logits.npy")
        assert result.exit_code == 0, result.output
        found = np.load(tmp_path / "logits.npy")
        assert found.dtype == np.float32 and found.shape == (3, 512) and (found == expected).all()


@pytest.mark.parametrize("ids, words", [
    ("1,x", ["--token-ids", "1,x", "integers"]), ("", ["--token-ids", "integers"]),
    ("512", ["512", "512 tokens"]), ("-1", ["-1", "512 tokens"]),
    (",".join(["1"] * 41), ["41 tokens", "context of 40"]),
])
def test_logits_refuses(formats, tmp_path, ids, words):
    _, _, paths = formats
    assert_refused(invoke("logits", paths["setun"], f"--token-ids={ids}", "--output", tmp_path / "logits.npy"), *words)
    assert not (tmp_path / "logits.npy").exists()


def test_convert_refuses(formats, tmp_path):
    """What is wrong is told; devices and FIFOs are not replaced (curl#6882)."""
    _, _, paths = formats
    assert_refused(invoke("convert", paths["setun"], tmp_path / "x", "--format", "gguf-tl1"), "gguf-tl1", "gguf-i2s")
    assert_refused(invoke("convert", paths["setun"], tmp_path / "no" / "x", "--format", "setun"), "cannot be written")
    assert_refused(invoke("convert", tmp_path / "nowhere", tmp_path / "x", "--format", "setun"), "nowhere")
    assert_refused(invoke("convert", paths["setun"], paths["setun"], "--format", "setun"), "is the model itself")
    assert_refused(invoke("convert", paths["setun"], paths["setun"] / "x", "--format", "hf"), "cannot be written")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", "/dev/null"):
        for form in ("setun", "hf"):
            result = invoke("convert", paths["setun"], path, "--format", form, "--force")
            assert_refused(result, f"{path}: ", "a device")
    assert (tmp_path / "fifo").is_fifo() and stat.S_ISCHR(os.stat("/dev/null").st_mode)
    (tmp_path / "cut.setun").write_bytes(paths["setun"].read_bytes()[:-1])
    assert_refused(invoke("convert", tmp_path / "cut.setun", tmp_path / "x", "--format", "setun"), "cut.setun: header")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("form", ["gguf-i2s", "setun", "hf"])
def test_convert_overwrites_when_forced(formats, tmp_path, form):
    """A file, or a folder of a model; behind a symbolic link too, which stays (curl#6882)."""
    _, _, paths = formats
    shutil.copytree(paths["hf"], tmp_path / "old") if form == "hf" else (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "link").symlink_to("old")
    before = (tmp_path / "old" / "config.json" if form == "hf" else tmp_path / "old").read_bytes()
    command = ["convert", paths["tq2"], tmp_path / "link", "--format", form]
    assert_refused(invoke(*command), "link: output: is there already", "--force")
    assert (tmp_path / "old" / "config.json" if form == "hf" else tmp_path / "old").read_bytes() == before
    result = invoke(*command, "--force")
    assert result.exit_code == 0 and (tmp_path / "link").is_symlink(), result.output
    assert (load(tmp_path / "old").layers[0].q[0] == formats[0].layers[0].q[0]).all()


def test_convert_leaves_no_half_of_a_folder(formats, tmp_path, monkeypatch):
    _, _, paths = formats
    monkeypatch.setattr("setun.formats.convert.hf_config", lambda model, kinds: {}["fails"])
    with open_checkpoint(paths["setun"]) as model, pytest.raises(KeyError):
        convert(model, tmp_path / "new", "hf")
    assert not (tmp_path / "new").exists()


def test_convert_names_a_full_disk(formats, tmp_path, monkeypatch):
    _, _, paths = formats

    def fail(file, model, tokenizer, progress):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("setun.formats.convert.write_container", fail)
    result = invoke("convert", paths["hf"], tmp_path / "x", "--format", "setun")
    assert_refused(result, f"{tmp_path / 'x'}: No space left")
    assert not list(tmp_path.iterdir())


def test_run_without_tokenizer(tmp_path):
    """Tokens beyond bytes are legal and unprintable."""
    checkpoint = random_checkpoint(12, vocab=512, hidden=32, inner=32)
    convert(InMemory(checkpoint), tmp_path / "model.setun", "setun")
    result = invoke("run", tmp_path / "model.setun", "--prompt", "A", "--tokens", 3, "--config", "16x20", "--json",
                    tmp_path / "run.json")
    assert result.exit_code == 0, result.output
    run = json.loads((tmp_path / "run.json").read_text())
    assert max(run["token_ids"]) >= 256 and "?" in run["text"]


def test_prompt_beyond_vocabulary(formats, tmp_path):
    _, tokenizer, _ = formats
    convert(InMemory(random_checkpoint(vocab=100), tokenizer.json), tmp_path / "model.setun", "setun")
    assert_refused(invoke("run", tmp_path / "model.setun", "--prompt", "And God"), "prompt has", "100 tokens")


def test_closeness_refuses_a_tokenizer(formats):
    _, _, paths = formats
    assert_refused(invoke("closeness", paths["setun"]), "--text", "tokenizer")


def test_progress(formats, tmp_path):
    """A terminal sees a bar."""
    _, _, paths = formats
    seen, terminal = os.openpty()
    subprocess.run([sys.executable, "-c", MAIN, "convert", paths["hf"], tmp_path / "model", "--format", "setun"],
                   check=True, stdout=subprocess.DEVNULL, stderr=terminal, env=os.environ | {"TERM": "xterm"})
    os.close(terminal)
    with open(seen, "rb") as file:
        shown = file.read1().decode()
    assert "writing setun" in shown and "14/14" in shown, shown


def test_memory(tmp_path):
    """Beside the pages of the file itself, which the system may drop, a conversion keeps a matrix at a time."""
    convert(Wide(4), tmp_path / "model", "hf")
    size = (tmp_path / "model" / "model.safetensors").stat().st_size
    assert size > 700_000_000
    _, most = command("convert", tmp_path / "model", tmp_path / "model.setun", "--format", "setun")
    assert most < size + 400_000_000
