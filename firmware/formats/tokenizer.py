"""Text to tokens and back: by a model's own tokenizer, or as bytes where it has none.

The common form of all tokenizers is the JSON of the library ``tokenizers``. Vocabularies of GGUF become that:
byte-level BPE ("gpt2"), and SentencePiece's BPE ("llama"), whose merges follow from the scores.
"""

import json
import re
from functools import cached_property

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from .model_file import NO_TOKEN, CheckpointError, refuse


__all__ = ["LLAMA_3", "SPLITS", "ByteTokenizer", "JsonTokenizer", "NoTokenizer", "gguf_vocabulary", "tokenizer_of"]


MOST_BYTES = 1 << 25
MOST_PIECE = 256  # characters of a token that merges are looked for
MOST_BYTES_VOCABULARY = 512  # of a model whose tokens may be bytes
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # token types of GGUF
SPACE = "\u2581"  # of SentencePiece
OTHER = "convert the original checkpoint again, or use it with its tokenizer.json"
ELSEWHERE = "choose --format hf or setun"

ENGLISH = r"'s|'t|'re|'ve|'m|'ll|'d"
LLAMA_3 = (rf"(?i:{ENGLISH})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", rf"{ENGLISH}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)", r"\p{N}+",
           "[0-9][0-9][0-9]")
# How text is split before the merges, by its name in GGUF: regular expressions, each of which splits what the one
# before has left (GPT-2's split, which ``tokenizers`` has built in, where there is none), and whether a piece that is a
# token stays one whatever the merges. A file that names none is of bitnet.cpp's converter, whose model has Llama 3's.
SPLITS = dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon_e", "falcon-h1"), ((LLAMA_3,), True)) | {
    "gpt-2": ((), False), "smaug-bpe": ((LLAMA_3,), False), "qwen2": ((QWEN_2,), False), "default": (DEFAULT, False)}


class ByteTokenizer:
    """Bytes of UTF-8; a token of 256 or above is legal and prints as a question mark."""

    json = None

    def encode(self, text):
        """Token ids of a text."""
        return list(text.encode("utf-8", "surrogateescape"))

    def decode(self, ids):
        """Text of token ids."""
        return bytes(token if token < 256 else ord("?") for token in ids).decode("utf-8", "replace")


class NoTokenizer:
    """Of a model with more tokens than bytes, and nothing that tells what they are; refuses text either way.

    Parameters
    ----------
    path : Path
        Of the model.
    vocab : int
    """

    json = None

    def __init__(self, path, vocab):
        self.path, self.vocab = path, vocab

    def encode(self, text):
        """Raises CheckpointError."""
        refuse(self.path, "tokenizer", f"none for a vocabulary of {self.vocab}",
               "put the tokenizer.json of the model into its folder, or convert it again with its tokenizer")

    decode = encode


class JsonTokenizer:
    """A tokenizer of the library ``tokenizers``.

    Parameters
    ----------
    data : bytes
        The content of a tokenizer.json. Raises CheckpointError where it is none.
    path : Path
        For messages.
    """

    def __init__(self, data, path):
        self.json = data
        if len(data) > MOST_BYTES:
            refuse(path, "tokenizer.json", f"{len(data)} bytes are more than the {MOST_BYTES} supported", OTHER)
        try:
            self._tokenizer = Tokenizer.from_str(data.decode())
        except Exception as error:  # the library raises no narrower one
            refuse(path, "tokenizer.json", " ".join(str(error).split()), "download the tokenizer again")

    def encode(self, text):
        """Token ids of a text, with the tokens that the tokenizer puts around one."""
        return self._tokenizer.encode(text.encode("utf-8", "replace").decode()).ids

    @cached_property
    def around(self):
        """Tokens that are put before a text, and behind it."""
        text, whole = (self._tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
        at = next((at for at in range(len(whole)) if whole[at:at + len(text)] == text), 0)
        return whole[:at], whole[at + len(text):]

    def decode(self, ids):
        """Text of token ids, without special tokens; what is beyond the vocabulary has none."""
        return self._tokenizer.decode([token for token in ids if self._tokenizer.id_to_token(token) is not None])


def _byte_level(expressions):
    if not expressions:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    return pre_tokenizers.Sequence([*(pre_tokenizers.Split(Regex(text), "isolated") for text in expressions),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _gpt2(path, fields, vocabulary):
    name = fields.get("tokenizer.ggml.pre", "llama-bpe")
    if name not in SPLITS:
        refuse(path, "tokenizer.ggml.pre", f"{name!r} is none of {', '.join(SPLITS)}", OTHER)
    expressions, whole = SPLITS[name]
    merges = [tuple(merge.split(" ", 1)) for merge in fields.get("tokenizer.ggml.merges", ())]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=whole))
    tokenizer.pre_tokenizer, tokenizer.decoder = _byte_level(expressions), decoders.ByteLevel()
    return tokenizer, whole


def _llama(path, fields, vocabulary):
    scores = fields.get("tokenizer.ggml.scores", ())
    if len(scores) != len(vocabulary):
        refuse(path, "tokenizer.ggml.scores", f"{len(scores)} scores of {len(vocabulary)} tokens", OTHER)
    merges = sorted(((-scores[index], vocabulary[piece[:cut]], vocabulary[piece[cut:]], piece[:cut], piece[cut:])
                     for piece, index in vocabulary.items() if len(piece) <= MOST_PIECE for cut in range(1, len(piece))
                     if piece[:cut] in vocabulary and piece[cut:] in vocabulary), key=lambda merge: merge[:3])
    tokenizer = Tokenizer(models.BPE(vocabulary, [merge[3:] for merge in merges], byte_fallback=True, fuse_unk=True))
    space = [normalizers.Prepend(SPACE)] if fields.get("tokenizer.ggml.add_space_prefix", True) else []
    tokenizer.normalizer = normalizers.Sequence([*space, normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
                                          + [decoders.Strip(" ", 1, 0)] * len(space))
    return tokenizer, True


FAMILIES = {"gpt2": _gpt2, "llama": _llama}


def _token(path, fields, key, count):
    """A token that a field names, of so many; None where it names none."""
    token = fields.get(key)
    if token in (None, -1, NO_TOKEN):
        return None
    if type(token) is not int or not 0 <= token < count:
        refuse(path, key, f"{token!r} is none of the {count} tokens", OTHER)
    return token


def _from_gguf(path, fields):
    """tokenizer.json of the fields ``tokenizer.ggml...`` of a GGUF."""
    family, tokens = fields["tokenizer.ggml.model"], fields.get("tokenizer.ggml.tokens", [])
    if family not in FAMILIES:
        refuse(path, "tokenizer.ggml.model", f"{family!r} is none of {', '.join(FAMILIES)}", OTHER)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(vocabulary) < len(tokens):
        twice = next(token for index, token in enumerate(tokens) if vocabulary[token] != index)
        refuse(path, "tokenizer.ggml.tokens", f"{twice!r} is there twice, which llama.cpp refuses too", OTHER)
    try:
        tokenizer, starts = FAMILIES[family](path, fields, vocabulary)
        for token, kind in zip(tokens, fields.get("tokenizer.ggml.token_type", ())):
            if kind in (CONTROL, UNKNOWN, USER_DEFINED) and token:
                add = tokenizer.add_tokens if kind == USER_DEFINED else tokenizer.add_special_tokens
                add([AddedToken(token, normalized=False)])
        around = [_token(path, fields, f"tokenizer.ggml.{name}_token_id", len(tokens))
                  if fields.get(f"tokenizer.ggml.add_{name}_token", default) else None
                  for name, default in (("bos", starts), ("eos", False))]
        if around != [None, None]:
            before, behind = ([] if token is None else [f"{tokens[token]}:0"] for token in around)
            tokenizer.post_processor = processors.TemplateProcessing(
                [*before, "$A:0", *behind],
                special_tokens=[(tokens[token], token) for token in around if token is not None])
        return tokenizer.to_str().encode()
    except CheckpointError:
        raise
    except Exception as error:  # the library raises no narrower one
        refuse(path, "tokenizer.ggml", " ".join(str(error).split()), OTHER)


def _split_name(path, written):
    """Name in SPLITS of the way in which a tokenizer's JSON splits text."""
    for name, (expressions, whole) in SPLITS.items():
        known = Tokenizer(models.BPE())
        known.pre_tokenizer = _byte_level(expressions)
        if (_essence(json.loads(known.to_str())["pre_tokenizer"]) == _essence(written["pre_tokenizer"])
                and whole == bool(written["model"].get("ignore_merges"))):
            return name
    refuse(path, "tokenizer", "its way to split text has no name in GGUF", ELSEWHERE)


def _essence(value):
    """A part of a tokenizer's JSON, without the fields that change neither tokens nor text."""
    match value:
        case {"type": "ByteLevel"}:
            return {key: value.get(key) for key in ("type", "use_regex", "add_prefix_space")}
        case dict():
            return {key: _essence(item) for key, item in value.items() if key != "invert"}
        case list():
            return [_essence(item) for item in value]
    return value


def _gpt2_fields(path, written, names):
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": _split_name(path, written),
            "tokenizer.ggml.merges": _merges(written)}


def _llama_fields(path, written, names):
    """Scores in the order of the merges, from which readers take them again; what nothing merges into comes last."""
    scores = {}
    for rank, merge in enumerate(_merges(written)):
        scores.setdefault(merge.replace(" ", ""), -float(rank))
    first = _essence(written["normalizer"])
    prepends = isinstance(first, dict) and any(
        entry == {"type": "Prepend", "prepend": SPACE} for entry in [first, *first.get("normalizers", [])])
    return {"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.scores": [scores.get(name, 0.0) for name in names],
            "tokenizer.ggml.add_space_prefix": prepends}


def _merges(written):
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in written["model"]["merges"]]


def _kind(name, entry, used, unknown):
    """Type of a token in GGUF."""
    if not used:
        return UNUSED
    if name == unknown:
        return UNKNOWN
    if entry is None:
        return BYTE if re.fullmatch("<0x[0-9A-F]{2}>", name) else NORMAL
    return CONTROL if entry["special"] else USER_DEFINED


def _check_kept(path, written, fields):
    """Refuse where the tokenizer that is read again from the fields is not the one that is written."""
    again = json.loads(_from_gguf(path, fields))

    def lost(part):
        refuse(path, "tokenizer", f"its {part} would be lost", ELSEWHERE)

    for part in ("normalizer", "pre_tokenizer"):
        if _essence(again[part]) != _essence(written[part]):
            lost(part)
    if written["decoder"]["type"] != "ByteLevel" and _essence(again["decoder"]) != _essence(written["decoder"]):
        lost("decoder")
    if not written["model"]["vocab"].items() <= again["model"]["vocab"].items():
        lost("vocabulary")
    if _merges(again) != _merges(written):
        lost("order of merges")
    kept = {(entry["id"], entry["content"], entry["special"]) for entry in again["added_tokens"]}
    if kept != {(entry["id"], entry["content"], entry["special"]) for entry in written["added_tokens"]} or any(
            entry[flag] for entry in written["added_tokens"] for flag in ("lstrip", "rstrip", "single_word")):
        lost("added tokens")


def gguf_vocabulary(tokenizer, size, path):
    """Fields ``tokenizer.ggml...`` of a tokenizer, for a model of ``size`` tokens.

    Raises CheckpointError where any of it would be lost.
    """
    if tokenizer.json is None:
        return {"tokenizer.ggml.model": "no_vocab"}
    written = json.loads(tokenizer.json)
    family = {"ByteLevel": _gpt2_fields, "Sequence": _llama_fields}.get((written["decoder"] or {}).get("type"))
    if written["model"].get("type") != "BPE" or family is None:
        refuse(path, "tokenizer", "only byte-level BPE and SentencePiece's have a place in GGUF", ELSEWHERE)
    added = {entry["id"]: entry for entry in written["added_tokens"]}
    found = {index: token for token, index in written["model"]["vocab"].items()}
    found |= {index: entry["content"] for index, entry in added.items()}
    if max(found) >= size:
        refuse(path, "tokenizer", f"it has the token {max(found)} and the model {size} tokens",
               "take the tokenizer that belongs to these weights, or the weights that were made for it")
    names = [found.get(index, f"[PAD{index}]") for index in range(size)]
    before, behind = tokenizer.around
    if len(before) > 1 or len(behind) > 1:
        refuse(path, "tokenizer", f"it puts {before} before a text and {behind} behind it, where one has a place",
               ELSEWHERE)
    fields = {
        **family(path, written, names),
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": [_kind(name, added.get(index), index in found, written["model"].get("unk_token"))
                                      for index, name in enumerate(names)],
        "tokenizer.ggml.add_bos_token": len(before) == 1,
        "tokenizer.ggml.add_eos_token": len(behind) == 1,
        **({"tokenizer.ggml.bos_token_id": before[0]} if before else {}),
        **({"tokenizer.ggml.eos_token_id": behind[0]} if behind else {}),
    }
    _check_kept(path, written, fields)
    return fields


def tokenizer_of(model):
    """Tokenizer of a model file; NoTokenizer where there should be one.

    Raises CheckpointError for one that is damaged or not supported.
    """
    found = model.tokenizer
    if found is None:
        vocab = model.architecture.vocab
        return ByteTokenizer() if vocab <= MOST_BYTES_VOCABULARY else NoTokenizer(model.path, vocab)
    if isinstance(found, dict):
        found = _from_gguf(model.path, found)
    return JsonTokenizer(found, model.path)
