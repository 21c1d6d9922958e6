import json
import pathlib
from types import SimpleNamespace

import pytest
import transformers.integrations.gguf.gguf_tokenizer_mapping as mapping
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Qwen2Tokenizer

from setun.cli.options import DEMO
from setun.formats.checkpoint import CheckpointError
from setun.formats.tokenizer import LLAMA_3, SPLITS, ByteTokenizer, JsonTokenizer, gguf_vocabulary, tokenizer_of


TEXTS = ["In the beginning", " And  God said,\n\nLet there be 12345 lights; isn't it?", "naïve 東京 🙂", "",
         "a<|end|>b\ttab", "<|start|>In"]
SIZE = 600


class Found:
    """A model file of which only the tokenizer matters."""
    path, architecture = pathlib.Path("model"), SimpleNamespace(vocab=512)

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer


@pytest.fixture(scope="module")
def lines():
    return (DEMO / "held_out.txt").read_text().splitlines()


def byte_level(lines, split, starts=True):
    """A byte-level BPE as its authors write it."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=split is not None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False) if split is None else (
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"),
                                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<|start|>", "<|end|>"]))
    tokenizer.add_tokens([AddedToken("<user>", normalized=False)])
    if starts:
        tokenizer.post_processor = processors.TemplateProcessing("<|start|> $A", special_tokens=[("<|start|>", 0)])
    return JsonTokenizer(tokenizer.to_str().encode(), pathlib.Path("tokenizer.json"))


def sentence_piece(lines):
    """Fields of a GGUF with SentencePiece's BPE, and what it was made from."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=500, show_progress=False, max_token_length=8,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]))
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.get)
    return {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": [-float(index) for index in range(len(tokens))],
            "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259),
            "tokenizer.ggml.bos_token_id": 1}


def test_bytes():
    tokenizer = tokenizer_of(Found(None))
    assert isinstance(tokenizer, ByteTokenizer) and tokenizer.json is None
    assert tokenizer.encode("aé") == [97, 195, 169] and tokenizer.encode("\udcff") == [255]
    assert tokenizer.decode([72, 105, 300, 195, 169, 255]) == "Hi?é\ufffd"


@pytest.mark.parametrize("split", [None, LLAMA_3], ids=["gpt-2", "llama-bpe"])
@pytest.mark.parametrize("starts", [False, True])
def test_json(lines, split, starts):
    """Text in gives text out, whatever the text."""
    tokenizer = byte_level(lines, split, starts)
    again = tokenizer_of(Found(tokenizer.json))
    for text in TEXTS[:4]:
        ids = again.encode(text)
        assert again.decode(ids) == text and (ids[:1] == [0]) == starts
    assert again.decode([0, 501, 10_000]) == again.decode([501])
    assert again.encode("x\udcffy") == again.encode("x?y")


@pytest.mark.parametrize("split", [None, LLAMA_3], ids=["gpt-2", "llama-bpe"])
@pytest.mark.parametrize("starts", [False, True])
def test_through_gguf(lines, split, starts):
    """What is written as a vocabulary of GGUF encodes and decodes as before."""
    tokenizer = byte_level(lines, split, starts)
    fields = gguf_vocabulary(tokenizer, SIZE, pathlib.Path("model.gguf"))
    assert fields["tokenizer.ggml.pre"] == ("gpt-2" if split is None else "llama-bpe")
    assert len(fields["tokenizer.ggml.tokens"]) == len(fields["tokenizer.ggml.token_type"]) == SIZE
    assert fields["tokenizer.ggml.token_type"][:2] == [3, 3] and fields["tokenizer.ggml.token_type"][-1] == 5
    again = tokenizer_of(Found(fields))
    for text in [*TEXTS, "to a <user> say", "it's 1234567"]:
        assert again.encode(text) == tokenizer.encode(text), text
        assert again.decode(again.encode(text)) == tokenizer.decode(tokenizer.encode(text))


TEXT = "It's 12345$ ok?!  and\n\nWE'RE"
PIECES = {  # of TEXT, by what splits it; a space is shown as GPT-2 does, and a line feed too
    "llama-bpe": ["It", "'s", "Ġ", "123", "45", "$", "Ġok", "?!", "Ġ", "Ġand", "ĊĊ", "WE", "'RE"],
    "falcon3": "llama-bpe", "falcon_e": "llama-bpe", "falcon-h1": "llama-bpe", "llama3": "llama-bpe",
    "llama-v3": "llama-bpe", "smaug-bpe": "llama-bpe",
    "qwen2": ["It", "'s", "Ġ", "1", "2", "3", "4", "5", "$", "Ġok", "?!", "Ġ", "Ġand", "ĊĊ", "WE", "'RE"],
    "gpt-2": ["It", "'s", "Ġ12345", "$", "Ġok", "?!", "Ġ", "Ġand", "Ċ", "Ċ", "WE", "'", "RE"],
    "default": ["It", "'", "s", "Ġ", "123", "45", "$", "Ġok", "?!", "Ġ", "Ġand", "Ċ", "Ċ", "WE", "'", "RE"],
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits(lines, name):
    """How llama.cpp cuts text before the merges, by the name in the file."""
    fields = gguf_vocabulary(byte_level(lines, None), SIZE, pathlib.Path("model.gguf")) | {"tokenizer.ggml.pre": name}
    made = Tokenizer.from_str(tokenizer_of(Found(fields)).json.decode())
    pieces = PIECES[name] if isinstance(PIECES[name], list) else PIECES[PIECES[name]]
    assert [piece for piece, _ in made.pre_tokenizer.pre_tokenize_str(TEXT)] == pieces


def test_qwen2_is_that_of_transformers(lines):
    fields = gguf_vocabulary(byte_level(lines, None), SIZE, pathlib.Path("model.gguf")) | {
        "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.add_bos_token": False}
    written = json.loads(byte_level(lines, None).json)["model"]
    theirs = Qwen2Tokenizer(vocab=written["vocab"], merges=[tuple(merge) for merge in written["merges"]])
    for text in [TEXT, *lines[:50]]:
        assert tokenizer_of(Found(fields)).encode(text) == theirs.encode(text)


@pytest.mark.parametrize("name", ["llama-bpe", "smaug-bpe", "qwen2", "gpt-2", "default"])
def test_each_split_through_gguf(lines, name):
    """Names differ by the split, and by whether a piece that is a token stays one whatever the merges."""
    expressions, whole = SPLITS[name]
    written = json.loads(byte_level(lines, None).json)
    written["model"]["ignore_merges"] = whole
    if expressions:
        split = Tokenizer(models.BPE())
        split.pre_tokenizer = pre_tokenizers.Sequence([
            *(pre_tokenizers.Split(Regex(expression), "isolated") for expression in expressions),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        written["pre_tokenizer"] = json.loads(split.to_str())["pre_tokenizer"]
    tokenizer = JsonTokenizer(json.dumps(written).encode(), pathlib.Path("tokenizer.json"))
    fields = gguf_vocabulary(tokenizer, SIZE, pathlib.Path("model.gguf"))
    assert fields["tokenizer.ggml.pre"] == name
    again = json.loads(tokenizer_of(Found(fields)).json)["model"]
    assert again["ignore_merges"] == whole
    for text in [*TEXTS, TEXT]:
        assert tokenizer_of(Found(fields)).encode(text) == tokenizer.encode(text)


def oracle(fields):
    names = mapping.GGUF_TOKENIZER_MAPPING["tokenizer"]
    return mapping.convert_gguf_tokenizer("bitnet", {
        names[key.removeprefix("tokenizer.")]: value for key, value in fields.items()
        if key.removeprefix("tokenizer.") in names})[0]


@pytest.mark.parametrize("family", ["gpt-2", "llama-bpe", "llama"])
def test_gguf_is_that_of_transformers(lines, family):
    fields = sentence_piece(lines) if family == "llama" else gguf_vocabulary(
        byte_level(lines, LLAMA_3 if family == "llama-bpe" else None), SIZE, pathlib.Path("model.gguf"))
    theirs, ours = oracle(fields), tokenizer_of(Found(fields))
    start = fields["tokenizer.ggml.bos_token_id"]
    for text in TEXTS + lines[:50]:
        if not text or family == "llama" and text[0] == " ":
            continue  # transformers leaves out the space that SentencePiece puts before a space
        assert ours.encode(text) == [start, *theirs.encode(text, add_special_tokens=False).ids], text
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text, add_special_tokens=False).ids)


def test_no_start(lines):
    """None is put before a text where a field says so, or names none: -1, as an unsigned number too."""
    for told in ({"add_bos_token": False}, {"bos_token_id": -1}, {"bos_token_id": (1 << 32) - 1}):
        fields = sentence_piece(lines) | {f"tokenizer.ggml.{key}": value for key, value in told.items()}
        assert tokenizer_of(Found(fields)).encode("In")[0] != 1
    fields["tokenizer.ggml.add_space_prefix"] = False
    assert tokenizer_of(Found(fields)).decode(tokenizer_of(Found(fields)).encode(" In")) == " In"


@pytest.mark.parametrize("change, words", [
    ({"tokenizer.ggml.model": "bert"}, ["tokenizer.ggml.model", "'bert'", "gpt2, llama"]),
    ({"tokenizer.ggml.pre": "tekken"}, ["tokenizer.ggml.pre", "'tekken'", "llama-bpe", "falcon_e", "default"]),
    ({"tokenizer.ggml.tokens": ["a", "a"]}, ["tokenizer.ggml.tokens", "'a' is there twice"]),
    ({"tokenizer.ggml.merges": ["a zz9"]}, ["tokenizer.ggml", "zz9"]),
    ({"tokenizer.ggml.merges": ["a"]}, ["tokenizer.ggml"]),
    ({"tokenizer.ggml.merges": 7}, ["tokenizer.ggml"]),
    *(({"tokenizer.ggml.bos_token_id": value}, ["tokenizer.ggml.bos_token_id", f"{value!r} is none of the 600 tokens"])
      for value in (600, 10 ** 6, -2, "0")),
    ({"tokenizer.ggml.model": "llama"}, ["tokenizer.ggml.scores", "0 scores"]),
])
def test_gguf_defects(lines, change, words):
    fields = gguf_vocabulary(byte_level(lines, None), SIZE, pathlib.Path("model.gguf")) | change
    with pytest.raises(CheckpointError) as caught:
        tokenizer_of(Found(fields))
    assert all(word in str(caught.value) for word in ["model: ", "; ", *words]) and "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"{}", b'{"model": {}}', b"[" * 100_000, bytes(1 << 26)])
def test_json_defects(data):
    with pytest.raises(CheckpointError, match="model: tokenizer.json: .*; ") as caught:
        tokenizer_of(Found(data))
    assert "\n" not in str(caught.value)


def test_no_place_in_gguf(lines):
    tokenizer = byte_level(lines, None)
    for change in ({"decoder": None}, {"pre_tokenizer": {"type": "Whitespace"}}):
        other = JsonTokenizer(json.dumps(json.loads(tokenizer.json) | change).encode(), pathlib.Path("tokenizer.json"))
        with pytest.raises(CheckpointError, match="--format hf or setun"):
            gguf_vocabulary(other, SIZE, pathlib.Path("model.gguf"))
    with pytest.raises(CheckpointError, match="token 500 and the model 500 tokens"):
        gguf_vocabulary(tokenizer, 500, pathlib.Path("model.gguf"))


def llama(lines, **change):
    """SentencePiece's BPE as a tokenizer.json."""
    fields = sentence_piece(lines)
    made = json.loads(tokenizer_of(Found(fields)).json)
    return JsonTokenizer(json.dumps(made | change).encode(), pathlib.Path("tokenizer.json"))


def test_sentence_piece_through_gguf(lines):
    """The scores that are written give the merges again, and with them the tokens."""
    tokenizer = llama(lines)
    fields = gguf_vocabulary(tokenizer, SIZE, pathlib.Path("model.gguf"))
    assert fields["tokenizer.ggml.model"] == "llama" and fields["tokenizer.ggml.add_space_prefix"]
    assert fields["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 6] and fields["tokenizer.ggml.token_type"][-1] == 5
    again = tokenizer_of(Found(fields))
    for text in TEXTS + lines[:50]:
        assert again.encode(text) == tokenizer.encode(text), text
        assert again.decode(again.encode(text)) == tokenizer.decode(tokenizer.encode(text))


def around(before, behind):
    """A post-processor with these tokens before and behind a text."""
    return {"type": "TemplateProcessing", "pair": [],
            "single": [*({"SpecialToken": {"id": name, "type_id": 0}} for name in before),
                       {"Sequence": {"id": "A", "type_id": 0}},
                       *({"SpecialToken": {"id": name, "type_id": 0}} for name in behind)],
            "special_tokens": {name: {"id": name, "ids": [index], "tokens": [name]}
                               for index, name in enumerate(("<unk>", "<s>", "</s>"))}}


@pytest.mark.parametrize("before, behind", [([], []), (["<s>"], []), ([], ["</s>"]), (["<s>"], ["</s>"])])
def test_what_is_around_a_text(lines, before, behind):
    """llama.cpp#3966: tokens before a text and behind it are not lost."""
    tokenizer = llama(lines, post_processor=around(before, behind))
    again = tokenizer_of(Found(gguf_vocabulary(tokenizer, SIZE, pathlib.Path("model.gguf"))))
    assert again.around == tokenizer.around == ([1] * len(before), [2] * len(behind))
    assert again.encode("In it") == tokenizer.encode("In it")


@pytest.mark.parametrize("change, lost", [
    ({"normalizer": {"type": "NFKC"}}, "its normalizer would be lost"),
    ({"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}},
     "its pre_tokenizer would be lost"),
    ({"decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}]}}, "its decoder would be lost"),
    ({"post_processor": around(["<s>", "<unk>"], [])}, r"it puts \[1, 0\] before a text and \[\] behind it"),
])
def test_what_gguf_would_lose(lines, change, lost):
    with pytest.raises(CheckpointError, match=f"tokenizer: {lost}.*; choose --format hf or setun"):
        gguf_vocabulary(llama(lines, **change), SIZE, pathlib.Path("model.gguf"))


def test_merges_that_scores_would_not_give(lines):
    made = json.loads(llama(lines).json)
    made["model"]["merges"] = made["model"]["merges"][::-1]
    with pytest.raises(CheckpointError, match="its order of merges would be lost"):
        gguf_vocabulary(JsonTokenizer(json.dumps(made).encode(), pathlib.Path("x")), SIZE, pathlib.Path("model.gguf"))


def test_no_tokenizer():
    """Of many tokens none are taken for bytes."""
    model = Found(None)
    model.architecture = SimpleNamespace(vocab=32000)
    tokenizer = tokenizer_of(model)
    assert tokenizer.json is None
    for call in (lambda: tokenizer.encode("In"), lambda: tokenizer.decode([5])):
        with pytest.raises(CheckpointError, match="tokenizer: none for a vocabulary of 32000; put the tokenizer.json"):
            call()
