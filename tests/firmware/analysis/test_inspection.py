import hashlib
import json

import numpy as np
from gguf import GGMLQuantizationType

from setun.analysis.inspection import boards_of
from setun.formats.convert import FORMATS, convert
from tests.firmware.cli.test_main import invoke
from tests.firmware.formats.test_gguf_file import write_tq
from tests.support.checkpoints import InMemory, random_checkpoint


def test_inspect(tmp_path):
    """The same matrices in every format."""
    checkpoint = random_checkpoint(1, hidden=64, inner=96)
    checkpoint.layers[1].up.codes[3:5] = 0
    checkpoint.layers[1].down.codes[:, 7] = 0
    for form in FORMATS:
        convert(InMemory(checkpoint), tmp_path / form, form)
        result = invoke("inspect", tmp_path / form, "--json", tmp_path / "found.json")
        assert result.exit_code == 0 and "relu2" in result.output, result.output
        found = json.loads((tmp_path / "found.json").read_text())
        assert found["architecture"]["inner"] == 96 and found["tokenizer"] is False and len(found["tensors"]) == 24
        entries = {(entry["layer"], entry["name"]): entry for entry in found["tensors"].values()}
        for index, layer in enumerate(checkpoint.layers):
            for name, value in layer._asdict().items():
                entry = entries[index, name]
                if not isinstance(value, tuple):
                    assert entry["shape"] == [len(value)]
                    continue
                assert entry["shape"] == list(value.codes.shape) and entry["scale"] == value.scale
                assert entry["codes_sha256"] == hashlib.sha256(value.codes.tobytes()).hexdigest()
                assert entry["shares"] == [np.mean(value.codes == code) for code in (-1, 0, 1)]
        assert entries[1, "up"]["dead_rows"] == 2 and entries[1, "down"]["dead_columns"] == 1
        assert found["layers"][1] == {"dead_rows": 2, "dead_columns": 1}


def test_tokenizer_that_is_not_read(tmp_path):
    """As in 1bitLLM's folders: all else is told."""
    convert(InMemory(random_checkpoint(1, hidden=64, inner=96)), tmp_path / "folder", "hf")
    (tmp_path / "folder/tokenizer.model").write_bytes(b"SentencePiece")
    result = invoke("inspect", tmp_path / "folder", "--json", tmp_path / "found.json")
    assert result.exit_code == 0, result.output
    assert "tokenizer.model: tokenizer: SentencePiece" in json.loads((tmp_path / "found.json").read_text())["tokenizer"]


def test_brackets(tmp_path):
    """What is markup to the library that prints is text in names and messages."""
    path = tmp_path / "model[bold].gguf"
    write_tq(path, random_checkpoint(1, hidden=256, inner=256, layers=1), GGMLQuantizationType.TQ2_0,
             fields={"tokenizer.ggml.model": "[/bold]"})
    result = invoke("inspect", path)
    assert result.exit_code == 0 and "model[bold].gguf" in result.output, result.output


def test_boards():
    small, large = (boards_of(InMemory(random_checkpoint(**sizes)).architecture)
                    for sizes in ({}, {"hidden": 2048, "inner": 16, "layers": 1}))
    assert small["ulx3s"] == "whole"
    assert "columns: 2,048 elements of a list are needed and the processor has 512" in large["ulx3s"]
