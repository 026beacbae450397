"""A tokenizer as GGUF holds it: every token with its kind, merges or scores, special tokens, the chat template."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from backprop.plan.export.gguf.metadata import Entry, Kind, find, flag, text, whole

SPACE = "\u2581"
"""SentencePiece's sign for a space."""
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_UNMERGED_SCORE = -1e6
"""Of single characters: below every token that a merge makes, so that they are never the better merge."""
_ADDED_SCORE = -1000.0


class TokenKind(enum.Enum):
    """``tokenizer.ggml.token_type``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class VocabularyKind(enum.Enum):
    """``tokenizer.ggml.model``."""

    BYTE_LEVEL = "gpt2"
    SENTENCE_PIECE = "llama"


@attrs.frozen
class TokenizerSource:
    """What the files of a tokenizer say."""

    definition: Mapping[str, Any] = attrs.field(eq=False, repr=False)
    """tokenizer.json."""
    special_tokens: Mapping[str, str]
    """``bos_token``, ``eos_token``, … as text."""
    chat_template: str | None
    pretokenizer: str | None
    """llama.cpp's name for the way that text is cut; None when it has none, or for SentencePiece."""
    adds: Mapping[str, bool] = attrs.field(factory=dict)
    """``add_bos_token`` and the like, as tokenizer_config.json declares them."""


def kind_of_vocabulary(definition: Mapping[str, Any]) -> VocabularyKind | None:
    """Which of the two a tokenizer.json holds; None for others (Unigram, WordPiece)."""
    model = definition.get("model")
    if not isinstance(model, Mapping) or model.get("type") != "BPE":
        return None
    if model.get("byte_fallback") is True:
        return VocabularyKind.SENTENCE_PIECE
    cutters = _flat(definition.get("pre_tokenizer"), "pretokenizers")
    return VocabularyKind.BYTE_LEVEL if any(c.get("type") == "ByteLevel" for c in cutters) else None


def adds_prefix_space(definition: Mapping[str, Any]) -> bool:
    """Whether a byte-level tokenizer puts a space before a text; llama.cpp never does."""
    cutters = _flat(definition.get("pre_tokenizer"), "pretokenizers")
    return any(part.get("type") == "ByteLevel" and part.get("add_prefix_space") is True for part in cutters)


def changes_text(definition: Mapping[str, Any]) -> bool:
    """Whether a tokenizer rewrites a text before it cuts it, as llama.cpp never does: lower case, other forms."""
    kind = kind_of_vocabulary(definition)
    # Text that is composed already, as nearly all is, NFC leaves as it is; the others are how spaces are spelled.
    expected = {"NFC"} if kind is VocabularyKind.BYTE_LEVEL else {"NFC", "Prepend", "Replace"}
    return any(part.get("type") not in expected for part in _flat(definition.get("normalizer"), "normalizers"))


def _flat(node: object, key: str) -> tuple[Mapping[str, Any], ...]:
    """The parts of a component that may be a sequence."""
    if not isinstance(node, Mapping):
        return ()
    if node.get("type") == "Sequence":
        return tuple(part for child in node.get(key, ()) for part in _flat(child, key))
    return (node,)


def vocabulary_entries(
    source: TokenizerSource, *, num_rows: int, config: Mapping[str, Any] | None = None
) -> tuple[Entry, ...]:
    """All of ``tokenizer.*``; ``num_rows`` is the length of the embedding, which may be padded.

    ``config`` is the model's, which names the token that ends a text where the tokenizer does not.
    Raises ``ValueError`` with a sentence when the tokenizer cannot be written.
    """
    definition = source.definition
    kind = kind_of_vocabulary(definition)
    if kind is None:
        raise ValueError("Its tokenizer is neither byte-level BPE nor SentencePiece's BPE.")
    cutter = source.pretokenizer if kind is VocabularyKind.BYTE_LEVEL else "default"
    if cutter is None or changes_text(definition):
        raise ValueError("Its tokenizer cuts text in a way that llama.cpp has no name for.")
    merges = [_pair(merge) for merge in definition["model"].get("merges", ())]
    tokens, kinds = _tokens(definition, source, num_rows)
    entries = [
        text("tokenizer.ggml.model", kind.value),
        text("tokenizer.ggml.pre", cutter),
        Entry("tokenizer.ggml.tokens", Kind.STRINGS, tuple(tokens)),
    ]
    if kind is VocabularyKind.SENTENCE_PIECE:
        scores = _scores(tokens, kinds, merges)
        entries.append(Entry("tokenizer.ggml.scores", Kind.FLOAT32S, tuple(scores)))
        entries.append(flag("tokenizer.ggml.add_space_prefix", adds_space(definition)))
    elif merges:
        spelled = tuple(" ".join(part.replace(" ", "\u0120") for part in pair) for pair in merges)
        entries.append(Entry("tokenizer.ggml.merges", Kind.STRINGS, spelled))
    entries.append(Entry("tokenizer.ggml.token_type", Kind.INT32S, tuple(k.value for k in kinds)))
    specials = _special_entries(source, config or {})
    if kind is VocabularyKind.BYTE_LEVEL and find(specials, _EOS) is None:
        raise ValueError("Neither its tokenizer nor its configuration names the token that ends a text.")
    return (*entries, *specials, *_template(source))


def _tokens(definition: Mapping[str, Any], source: TokenizerSource, num_rows: int) -> tuple[list[str], list[TokenKind]]:
    ids: Mapping[str, int] = definition["model"]["vocab"]
    added: Sequence[Mapping[str, Any]] = definition.get("added_tokens", ())
    highest = max((*ids.values(), *(token["id"] for token in added)), default=-1)
    if highest >= num_rows:
        raise ValueError(f"Its tokenizer has the id {highest}, but its embedding only {num_rows} rows.")
    tokens = [f"[PAD{i}]" for i in range(num_rows)]
    kinds = [TokenKind.UNUSED] * num_rows
    for token, number in ids.items():
        tokens[number] = token
        kinds[number] = TokenKind.BYTE if _is_byte(token, definition) else TokenKind.NORMAL
    for entry in added:
        number, content = entry["id"], entry["content"]
        is_control = entry.get("special") is True or looks_special(content)
        # llama.cpp looks for these in text that is not yet escaped.
        tokens[number] = content if is_control else content.replace(SPACE, " ")
        kinds[number] = TokenKind.CONTROL if is_control else TokenKind.USER_DEFINED
    unknown = str(definition["model"].get("unk_token") or source.special_tokens.get("unk_token"))
    if definition["model"].get("byte_fallback") and unknown in ids:
        kinds[ids[unknown]] = TokenKind.UNKNOWN
    return tokens, kinds


def _is_byte(token: str, definition: Mapping[str, Any]) -> bool:
    return bool(definition["model"].get("byte_fallback")) and _BYTE.fullmatch(token) is not None


def looks_special(token: str) -> bool:
    """Whether a token that is not marked as special steers the model all the same, as llama.cpp's converter judges."""
    return (
        token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (token.startswith(("<|", "<\uff5c")) and token.endswith(("|>", "\uff5c>")))
        or (token.startswith("<unused") and token.endswith(">"))
    )


def _pair(merge: object) -> tuple[str, str]:
    if isinstance(merge, str):
        left, _, right = merge.partition(" ")
        return left, right
    assert isinstance(merge, (list, tuple)), "tokenizers accepted the file"
    return str(merge[0]), str(merge[1])


def _scores(tokens: Sequence[str], kinds: Sequence[TokenKind], merges: Sequence[tuple[str, str]]) -> list[float]:
    """SentencePiece merges the pair whose token has the best score first: minus the rank of its first merge."""
    rank: dict[str, int] = {}
    for place, (left, right) in enumerate(merges):
        rank.setdefault(left + right, place)
    return [
        float(-rank[token])
        if kind is TokenKind.NORMAL and token in rank
        else _UNMERGED_SCORE
        if kind is TokenKind.NORMAL
        else 0.0
        if kind in (TokenKind.BYTE, TokenKind.UNKNOWN)
        else _ADDED_SCORE
        for token, kind in zip(tokens, kinds, strict=True)
    ]


def adds_space(definition: Mapping[str, Any]) -> bool:
    """Whether a space is put before the first word."""
    for part in _flat(definition.get("normalizer"), "normalizers"):
        if part.get("type") == "Prepend":
            return True
    for part in _flat(definition.get("pre_tokenizer"), "pretokenizers"):
        if part.get("type") == "Metaspace":
            older = "always" if part.get("add_prefix_space", True) else "never"
            return bool(part.get("prepend_scheme", older) != "never")
    return False


_SPECIAL = {
    "bos_token": "bos",
    "eos_token": "eos",
    "unk_token": "unknown",
    "sep_token": "seperator",
    "pad_token": "padding",
    "mask_token": "mask",
}
"""The file's keys; one of them is misspelt there."""


_EOS = "tokenizer.ggml.eos_token_id"


def _special_entries(source: TokenizerSource, config: Mapping[str, Any]) -> tuple[Entry, ...]:
    ids = {
        **source.definition["model"]["vocab"],
        **{t["content"]: t["id"] for t in source.definition.get("added_tokens", ())},
    }
    named = {key: ids[token] for key, token in source.special_tokens.items() if token in ids}
    entries = [
        whole(f"tokenizer.ggml.{theirs}_token_id", named[ours]) for ours, theirs in _SPECIAL.items() if ours in named
    ]
    declared = config.get("eos_token_id")
    eos = declared[0] if isinstance(declared, (list, tuple)) and declared else declared
    if "eos_token" not in named and isinstance(eos, int):
        # llama.cpp would take the token 11, which is a word like any other.
        entries.append(whole(_EOS, eos))
    begins, ends = _added_around(source.definition, named)
    entries += [
        flag("tokenizer.ggml.add_bos_token", source.adds.get("add_bos_token", begins) and "bos_token" in named),
        flag("tokenizer.ggml.add_eos_token", source.adds.get("add_eos_token", ends) and "eos_token" in named),
    ]
    return tuple(entries)


def _added_around(definition: Mapping[str, Any], named: Mapping[str, int]) -> tuple[bool, bool]:
    """Whether the tokenizer puts the begin and the end token around a text by itself."""
    for part in _flat_processors(definition.get("post_processor")):
        if part.get("type") != "TemplateProcessing":
            continue
        declared = part.get("special_tokens", {})
        pieces = [
            declared.get(p["SpecialToken"]["id"], {}).get("ids", [None])[0] if "SpecialToken" in p else None
            for p in part.get("single", ())
        ]
        text_at = next((i for i, p in enumerate(part.get("single", ())) if "Sequence" in p), 0)
        begins = named.get("bos_token", -1) in pieces[:text_at]
        return begins, named.get("eos_token", -1) in pieces[text_at:]
    return False, False


def _flat_processors(node: object) -> tuple[Mapping[str, Any], ...]:
    return _flat(node, "processors")


def _template(source: TokenizerSource) -> tuple[Entry, ...]:
    return (text("tokenizer.chat_template", source.chat_template),) if source.chat_template else ()
