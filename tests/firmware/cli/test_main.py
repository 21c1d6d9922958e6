import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import setun
from setun.cli.main import main
from setun.cli.options import DEMO
from setun.golden.matvec import matvec
from tests.support.configs import SMALL


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_refused(result, *words):
    """Exit 2, one line that has all the words, no traceback."""
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
    line = result.output.strip().splitlines()[-1]
    assert line.startswith("Error: ") and all(word in line for word in words), result.output


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(4)
    w, x = rng.integers(-1, 2, (33, 70), np.int8), rng.integers(-128, 128, 70).astype(np.int8)
    np.save(tmp_path / "w.npy", w)
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "small.yaml").write_text(str({name: value for name, value in vars(SMALL).items() if name != "name"})
                                         .replace("True", "true"))
    return tmp_path, w, x


def matvec_of(folder, *more):
    return invoke("matvec", "--weights", folder / "w.npy", "--activations", folder / "x.npy",
                  "--config", folder / "small.yaml", "--output", folder / "out.npy", "--json", folder / "out.json",
                  *more)


def test_configs():
    result = invoke("configs")
    assert result.exit_code == 0 and all(name in result.output for name in setun.PRESETS)


def test_matvec(files):
    folder, w, x = files
    result = matvec_of(folder)
    assert result.exit_code == 0, result.output
    out, fields = np.load(folder / "out.npy"), json.loads((folder / "out.json").read_text())
    assert out.dtype == np.int32 and (out == matvec(w, x)).all()
    assert fields["cycles"] == fields["cycles_predicted"] <= fields["cycles_dense"]
    assert fields["mismatches"] == 0 and 0 < fields["utilisation"] <= 1 and fields["pieces"] == 1


@pytest.mark.parametrize("name, array, words", [
    ("w.npy", np.full((3, 70), 2, np.int8), ["w.npy", "value 2", "only -1, 0 and +1"]),
    ("w.npy", np.full((3, 70), -128, np.int8), ["w.npy", "value -128"]),
    ("w.npy", np.zeros((3, 71), np.int8), ["71 columns", "70 elements", "must agree"]),
    ("w.npy", np.zeros((3, 70)), ["w.npy", "float64", "int8 [M, n]"]),
    ("w.npy", np.zeros(70, np.int8), ["w.npy", "[70]", "int8 [M, n]"]),
    ("w.npy", np.zeros((0, 70), np.int8), ["w.npy", "int8 [M, n]"]),
    ("x.npy", np.zeros((1, 70), np.int8), ["x.npy", "int8 [n]"]),
    ("x.npy", np.zeros(70, np.int32), ["x.npy", "int32", "int8 [n]"]),
    ("w.npy", np.array({}, object), ["w.npy", "numpy.save"]),
])
def test_matvec_refuses(files, name, array, words):
    folder, _, _ = files
    np.save(folder / name, array)
    assert_refused(matvec_of(folder), *words)
    assert not (folder / "out.npy").exists()


def test_matvec_refuses_files(files):
    folder, _, _ = files
    (folder / "w.npy").write_bytes((folder / "w.npy").read_bytes()[:100])
    assert_refused(matvec_of(folder), "w.npy", "numpy.save")
    (folder / "w.npy").unlink()
    assert_refused(matvec_of(folder), "w.npy", "No such file")


def test_output_cannot_be_written(files):
    folder, _, _ = files
    assert_refused(matvec_of(folder, "--output", folder / "no" / "out.npy"), "cannot be written", "No such file")


def test_unknown_config(files):
    folder, _, _ = files
    assert_refused(matvec_of(folder, "--config", "17x3"), "17x3", "24x40")


def test_run(tmp_path):
    result = invoke("run", "--prompt", "An", "--tokens", 2, "--json", tmp_path / "run.json")
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "run.json").read_text())
    assert fields["tokens"] == len(fields["cycles_per_token"]) == 2 and len(fields["text"]) == 2
    assert fields["cycles_per_token"] == fields["cycles_predicted"] and fields["mismatches"] == 0
    assert fields["values_compared"] > 0 and fields["simulated_cycles_per_second"] > 0
    assert fields["prompt_token_ids"] == list(b"An") and len(fields["cycles_per_prompt_token"]) == 1
    assert fields["cycles"] == sum(fields["cycles_by_cause"].values()) == sum(
        fields["cycles_per_prompt_token"] + fields["cycles_per_token"])
    assert fields["config"] == "16x20" and fields["saturations"] == 0
    assert "An" + fields["text"].rstrip() in result.output


def test_run_without_checks(tmp_path):
    result = invoke("run", "demo", "--prompt", "A", "--tokens", 1, "--check", "none", "--json", tmp_path / "run.json")
    assert result.exit_code == 0 and "nothing was checked" in result.output and "predicted" not in result.output
    fields = json.loads((tmp_path / "run.json").read_text())
    assert fields["checked"] == "none" and fields["values_compared"] == 0 and "cycles_predicted" not in fields


def test_compile(tmp_path):
    """Words of each memory, and cycles at three positions, the first of which the RTL takes, too."""
    result = invoke("compile", "--list", "--json", tmp_path / "compile.json")
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "compile.json").read_text())
    assert fields["config"] == "16x20" and fields["used"]["weights"][1] == setun.PRESETS["16x20"].depth
    assert set(fields["cycles"]) == {"1", "128", "256"} and fields["cycles"]["1"] < fields["cycles"]["256"]
    assert "   0  Fetch   weights=embedding" in result.output and f"{fields['used']['weights'][0]:,}" in result.output
    assert fields["map"]["weights"]["embedding"][1] == 64 * 10
    assert_refused(invoke("compile", "--config", "24x40,results=512"), "results: 620 words of results are needed")


def test_run_samples_repeatably(tmp_path):
    texts = []
    for seed in (1, 1, 2):
        result = invoke("run", "--prompt", "A", "--tokens", 6, "--temperature", 2, "--seed", seed, "--json",
                        tmp_path / "run.json")
        assert result.exit_code == 0, result.output
        texts.append(json.loads((tmp_path / "run.json").read_text())["token_ids"])
    assert texts[0] == texts[1] != texts[2]
    assert_refused(invoke("run", "--seed", -1, "--temperature", 1), "--seed")
    assert_refused(invoke("run", "--temperature", "nan"), "temperature is nan")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_terminal_without_the_characters(tmp_path, encoding):
    """They are replaced; all else is printed."""
    folder = tmp_path / "модель"
    shutil.copytree(DEMO, folder)
    code = "import sys; from setun.cli.main import main; main(sys.argv[1:])"
    ended = subprocess.run([sys.executable, "-c", code, "inspect", folder], capture_output=True, text=True,
                           encoding=encoding, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert ended.returncode == 0, ended.stderr
    assert "??????: hf-packed" in ended.stdout and "ulx3s" in ended.stdout


@pytest.mark.parametrize("options, words", [
    (["--prompt", "x" * 300], ["300 tokens", "context of 256"]),
    (["--prompt", "x" * 200, "--tokens", "58"], ["200 tokens", "and 58 tokens", "context of 256"]),
    (["--prompt", ""], ["prompt is empty"]),
    (["--tokens", "0"], ["--tokens", "0"]),
    (["--config", "24x40,depth=512"], ["depth: 1,928 words of weights are needed", "has 512", "choose a larger one"]),
    (["nowhere"], ["nowhere"]),
])
def test_run_refuses(options, words):
    assert_refused(invoke("run", *options), *words)


def damage_config(folder, **fields):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


@pytest.mark.parametrize("damage, words", [
    (lambda folder: (folder / "model.safetensors").write_bytes(b""), ["model.safetensors"]),
    (lambda folder: (folder / "model.safetensors").write_bytes(
        (DEMO / "model.safetensors").read_bytes()[:100_000]), ["model.safetensors"]),
    (lambda folder: (folder / "config.json").write_text("{"), ["config.json"]),
    (lambda folder: damage_config(folder, vocab_size=300), ["model.safetensors", "embed_tokens"]),
    (lambda folder: damage_config(folder, hidden_act="gelu"), ["config.json", "hidden_act"]),
    (lambda folder: damage_config(folder, quantization_config=None), ["config.json", "quantization_config"]),
])
def test_run_refuses_checkpoints(tmp_path, damage, words):
    folder = tmp_path / "model"
    shutil.copytree(DEMO, folder)
    damage(folder)
    assert_refused(invoke("run", folder), *words)


def test_closeness(tmp_path):
    result = invoke("closeness", "--windows", 4, "--json", tmp_path / "close.json")
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "close.json").read_text())
    assert abs(fields["loss_delta"]) <= .005 and fields["kl"] <= 5e-4 and fields["argmax_agreement"] >= .98
    assert fields["loss"] <= 1.2
    (tmp_path / "short.txt").write_bytes(b"x" * 100)
    assert_refused(invoke("closeness", "--text", tmp_path / "short.txt"), "short.txt", "100 bytes", "--windows")


def test_waveform(files):
    folder, _, _ = files
    assert_refused(matvec_of(folder, "--waveform", folder / "no" / "run.vcd"), "no/run.vcd", "No such file")


def test_matvec_refuses_an_archive(files):
    folder, w, _ = files
    np.savez(folder / "w.npz", w=w, more=w)
    (folder / "w.npz").rename(folder / "w.npy")
    assert_refused(matvec_of(folder), "w.npy", "several arrays")


def test_odd_bytes(tmp_path):
    (tmp_path / "odd.txt").write_bytes(bytes(range(256)) * 5)
    tiny = DEMO.parents[1] / "tests" / "data" / "bitnet_tiny"
    assert_refused(invoke("closeness", tiny, "--text", tmp_path / "odd.txt"), "odd.txt", "byte 255", "64 tokens")


@pytest.mark.parametrize("name, words", [
    ("tokenizer.json", ["tokenizer.json: ", "download the tokenizer again"]),
    ("tokenizer.model", ["tokenizer.model: ", "SentencePiece", "tokenizer.json"])])
def test_bad_tokenizers_are_refused(tmp_path, name, words):
    shutil.copytree(DEMO, tmp_path / "model")
    (tmp_path / "model" / name).write_text("{}")
    assert_refused(invoke("run", tmp_path / "model"), *words)


@pytest.mark.parametrize("header", ["{'descr': '|i1', 'fortran_order': False, 'shape': (99999999999999999999,)}",
                                    "{'descr': '|i1', 'fortran_order': False, 'shape': ('a',)}"])
def test_lying_headers(files, header):
    folder, _, _ = files
    text = header.encode() + b" " * (117 - len(header)) + b"\n"
    (folder / "w.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    assert_refused(matvec_of(folder), "w.npy", "numpy.save")
