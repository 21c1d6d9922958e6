"""Text to tokens and back: by a model's own tokenizer, or as bytes where it has none.

The common form of all tokenizers is the JSON of the library ``tokenizers``. Vocabularies of GGUF become that:
byte-level BPE ("gpt2"), and SentencePiece's BPE ("llama"), whose merges follow from the scores.
"""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from .model_file import CheckpointError, refuse


__all__ = ["ByteTokenizer", "JsonTokenizer", "gguf_vocabulary", "tokenizer_of"]


MOST_BYTES = 1 << 25
MOST_PIECE = 256  # characters of a token that merges are looked for
CONTROL, USER_DEFINED, UNUSED, NORMAL = 3, 4, 5, 1  # token types of GGUF
OTHER = "use a model whose tokenizer is a tokenizer.json"

LLAMA_3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
# What splits text before the merges, by its name in GGUF; a file that names none is of bitnet.cpp's converter, whose
# model has Llama 3's tokenizer. None: GPT-2's, which ``tokenizers`` has built in.
SPLITS = {"llama-bpe": LLAMA_3, "llama3": LLAMA_3, "llama-v3": LLAMA_3, "gpt-2": None}


class ByteTokenizer:
    """Bytes of UTF-8; a token of 256 or above is legal and prints as a question mark."""

    json = None

    def encode(self, text):
        """Token ids of a text."""
        return list(text.encode("utf-8", "surrogateescape"))

    def decode(self, ids):
        """Text of token ids."""
        return bytes(token if token < 256 else ord("?") for token in ids).decode("utf-8", "replace")


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

    def decode(self, ids):
        """Text of token ids, without special tokens; what is beyond the vocabulary has none."""
        return self._tokenizer.decode([token for token in ids if self._tokenizer.id_to_token(token) is not None])


def _byte_level(split):
    if split is None:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _gpt2(path, fields, vocabulary):
    name = fields.get("tokenizer.ggml.pre", "llama-bpe")
    if name not in SPLITS:
        refuse(path, "tokenizer.ggml.pre", f"{name!r} is none of {', '.join(SPLITS)}", OTHER)
    merges = [tuple(merge.split(" ", 1)) for merge in fields.get("tokenizer.ggml.merges", ())]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=SPLITS[name] is not None))
    tokenizer.pre_tokenizer, tokenizer.decoder = _byte_level(SPLITS[name]), decoders.ByteLevel()
    return tokenizer, SPLITS[name] is not None


def _llama(path, fields, vocabulary):
    scores = fields.get("tokenizer.ggml.scores", ())
    if len(scores) != len(vocabulary):
        refuse(path, "tokenizer.ggml.scores", f"{len(scores)} scores of {len(vocabulary)} tokens", OTHER)
    merges = sorted(((-scores[index], vocabulary[piece[:cut]], vocabulary[piece[cut:]], piece[:cut], piece[cut:])
                     for piece, index in vocabulary.items() if len(piece) <= MOST_PIECE for cut in range(1, len(piece))
                     if piece[:cut] in vocabulary and piece[cut:] in vocabulary), key=lambda merge: merge[:3])
    tokenizer = Tokenizer(models.BPE(vocabulary, [merge[3:] for merge in merges], byte_fallback=True, fuse_unk=True))
    space = [normalizers.Prepend("\u2581")] if fields.get("tokenizer.ggml.add_space_prefix", True) else []
    tokenizer.normalizer = normalizers.Sequence([*space, normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
                                          + [decoders.Strip(" ", 1, 0)] * len(space))
    return tokenizer, True


FAMILIES = {"gpt2": _gpt2, "llama": _llama}


def _from_gguf(path, fields):
    """tokenizer.json of the fields ``tokenizer.ggml...`` of a GGUF."""
    family, tokens = fields["tokenizer.ggml.model"], fields.get("tokenizer.ggml.tokens", [])
    if family not in FAMILIES:
        refuse(path, "tokenizer.ggml.model", f"{family!r} is none of {', '.join(FAMILIES)}", OTHER)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(vocabulary) < len(tokens):
        refuse(path, "tokenizer.ggml.tokens", "two tokens are equal", OTHER)
    try:
        tokenizer, starts = FAMILIES[family](path, fields, vocabulary)
        for token, kind in zip(tokens, fields.get("tokenizer.ggml.token_type", ())):
            if kind in (CONTROL, USER_DEFINED) and token:
                add = tokenizer.add_special_tokens if kind == CONTROL else tokenizer.add_tokens
                add([AddedToken(token, normalized=False)])
        start = fields.get("tokenizer.ggml.bos_token_id")
        if start is not None and fields.get("tokenizer.ggml.add_bos_token", starts):
            tokenizer.post_processor = processors.TemplateProcessing([f"{tokens[start]}:0", "$A:0"], special_tokens=[
                (tokens[start], start)])
        return tokenizer.to_str().encode()
    except CheckpointError:
        raise
    except Exception as error:  # the library raises no narrower one
        refuse(path, "tokenizer.ggml", " ".join(str(error).split()), OTHER)


def _split_name(path, written):
    """Name in SPLITS of a pre-tokenizer's JSON."""
    def essence(value):
        kept = value if isinstance(value, dict) else {}
        return {key: [essence(item) for item in item] if isinstance(item, list) else item for key, item in kept.items()
                if key not in ("trim_offsets", "invert")}

    for name, split in SPLITS.items():
        known = Tokenizer(models.BPE())
        known.pre_tokenizer = _byte_level(split)
        if essence(json.loads(known.to_str())["pre_tokenizer"]) == essence(written):
            return name
    refuse(path, "tokenizer", "its way to split text has no name in GGUF", "choose --format hf or setun")


def gguf_vocabulary(tokenizer, size, path):
    """Fields ``tokenizer.ggml...`` of a tokenizer, for a model of ``size`` tokens. Raises CheckpointError."""
    if tokenizer.json is None:
        return {"tokenizer.ggml.model": "no_vocab"}
    written = json.loads(tokenizer.json)
    if written["model"].get("type") != "BPE" or (written["decoder"] or {}).get("type") != "ByteLevel":
        refuse(path, "tokenizer", "only byte-level BPE has a place in GGUF", "choose --format hf or setun")
    added = {entry["id"]: entry for entry in written["added_tokens"]}
    names = {index: token for token, index in written["model"]["vocab"].items()}
    names |= {index: entry["content"] for index, entry in added.items()}
    if max(names) >= size:
        refuse(path, "tokenizer", f"it has the token {max(names)} and the model {size} tokens", OTHER)
    kinds = [UNUSED if index not in names else NORMAL if index not in added
             else CONTROL if added[index]["special"] else USER_DEFINED for index in range(size)]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in written["model"]["merges"]]
    start = tokenizer.encode("")
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _split_name(path, written["pre_tokenizer"]),
        "tokenizer.ggml.tokens": [names.get(index, f"[PAD{index}]") for index in range(size)],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.add_bos_token": len(start) == 1,
        **({"tokenizer.ggml.bos_token_id": start[0]} if len(start) == 1 else {}),
    }


def tokenizer_of(model):
    """Tokenizer of a model file. Raises CheckpointError for one that is damaged or not supported."""
    found = model.tokenizer
    if found is None:
        return ByteTokenizer()
    if isinstance(found, dict):
        found = _from_gguf(model.path, found)
    return JsonTokenizer(found, model.path)
