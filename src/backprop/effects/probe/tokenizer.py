"""The tokenizer of a model directory with its chat template, read without transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from jinja2 import TemplateSyntaxError
from tokenizers import Encoding, Tokenizer

from backprop.effects.files.json_file import read_object
from backprop.effects.probe.chat_template import ChatTemplate
from backprop.effects.probe.gguf_tokenizer import gguf_tokenizer_of
from backprop.plan.data.conversation import Message
from backprop.plan.data.templates import BUILTIN_TEMPLATES, ChosenTemplate, fit_template
from backprop.plan.data.turns import TurnEnds
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.model import TokenizerFacts
from backprop.plan.settings.nearest import nearest

_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
OWN_TEMPLATE = "the model's own"


@attrs.frozen(eq=False)
class ChatTokenizer:
    """Text to tokens and back, and conversations to text."""

    facts: TokenizerFacts
    ends: TurnEnds
    """Finds the tokens that end turns."""
    _tokenizer: Tokenizer
    _template: ChatTemplate | None

    @property
    def has_template(self) -> bool:
        """Conversations can be written."""
        return self._template is not None

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The control tokens."""
        return tuple(token.content for token in self._tokenizer.get_added_tokens_decoder().values() if token.special)

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = False,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """The messages as the model reads them. Raises ``RowError`` when the template refuses them."""
        assert self._template is not None, "has_template was asked first"
        return self._template.render(messages, add_generation_prompt, tools=tools)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> Encoding:
        """``.ids``, and ``.offsets`` in characters; a rendered conversation carries its special tokens in the text."""
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[Encoding]:
        """Each text's encoding, on all processors."""
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=add_special_tokens)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def decode_batch(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """:meth:`decode` for each, on all processors."""
        return self._tokenizer.decode_batch([list(row) for row in rows], skip_special_tokens=False)


def observe_tokenizer(directory: str, *, chat_template: str | None) -> ChatTokenizer | Absent:
    """The tokenizer in ``directory``; ``chat_template`` is a built-in name or a Jinja file, None for the model's own.

    Absent carries DEP_MODEL_LOAD_FAILED for tokenizer files that are missing or damaged, INPUT_CHAT_TEMPLATE_INVALID
    for a template that is unknown or has a syntax error.
    """
    try:
        return _read(Path(directory), chat_template)
    except BackpropError as error:
        return Absent(error.problems[0])


def _read(directory: Path, chat_template: str | None) -> ChatTokenizer:
    path = directory / "tokenizer.json"
    if not path.is_file():
        raise _unloadable(
            f"{directory} has no tokenizer.json.",
            hint="Save the model's fast tokenizer there: AutoTokenizer.from_pretrained(…).save_pretrained(…).",
        )
    data = path.read_bytes()
    tokenizer = _parse(path, data)
    config = _json(directory / "tokenizer_config.json")
    tokens = _special_tokens(directory, config, tokenizer)
    added = {token.content: token.special for token in tokenizer.get_added_tokens_decoder().values()}
    own = _own_templates(directory, config)
    chosen, name = _choose(chat_template, own, tokenizer, tokens, frozenset(added))
    named = {key: tokens[key] for key in _NAMED_TOKENS if key in tokens}
    template = _compile(chosen.source, own.get("tool_use") if name == OWN_TEMPLATE else None, named, name)
    eos = tokens.get("eos_token")
    special = [token for token, is_special in added.items() if is_special] + ([eos] if eos else [])
    facts = TokenizerFacts(
        fingerprint=hashlib.sha256(data).hexdigest(),
        vocab_size=max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1,
        bos_token=tokens.get("bos_token"),
        eos_token=eos,
        eos_token_id=tokenizer.token_to_id(eos) if eos else None,
        pad_token_id=_pad_id(tokenizer, tokens),
        chat_template=chosen.source or None,
        chat_template_name=name,
        chat_template_note=chosen.note,
        gguf_tokenizer=gguf_tokenizer_of(tokenizer, config),
    )
    return ChatTokenizer(facts, TurnEnds(special, list(added)), tokenizer, template)


def _parse(path: Path, data: bytes) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as damage:  # the library raises bare Exception for every defect of the file
        raise _unloadable(f"{path} cannot be read: {damage}") from damage
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _json(path: Path) -> Mapping[str, Any]:
    """A JSON object, or an empty one when there is no such file."""
    if not path.is_file():
        return {}
    try:
        return read_object(path)
    except ValueError as damage:
        raise _unloadable(f"{path} is {damage}.") from damage
    except OSError as denied:
        raise _unloadable(f"{path} cannot be read: {denied.strerror}.") from denied


def _special_tokens(directory: Path, config: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, str]:
    """``bos_token`` and the like; the older special_tokens_map.json counts where the configuration is silent."""
    declared = {**_json(directory / "special_tokens_map.json"), **{k: v for k, v in config.items() if v is not None}}
    tokens = {key: _token_text(declared.get(key)) for key in _NAMED_TOKENS}
    known = {key: text for key, text in tokens.items() if text}
    if "eos_token" not in known:
        ids = _json(directory / "generation_config.json").get("eos_token_id") or _json(directory / "config.json").get(
            "eos_token_id"
        )
        first = ids[0] if isinstance(ids, list) and ids else ids
        text = tokenizer.id_to_token(first) if isinstance(first, int) else None
        known |= {"eos_token": text} if text else {}
    return known


def _token_text(value: Any) -> str | None:
    """A token as it is declared: as text, or as an object with its content."""
    content = value.get("content") if isinstance(value, Mapping) else value
    return content if isinstance(content, str) else None


def _pad_id(tokenizer: Tokenizer, tokens: Mapping[str, str]) -> int:
    candidates = (tokens.get(key) for key in ("pad_token", "eos_token", "unk_token"))
    ids = (tokenizer.token_to_id(token) for token in candidates if token)
    return next((found for found in ids if found is not None), 0)


def _own_templates(directory: Path, config: Mapping[str, Any]) -> Mapping[str, str]:
    """The templates that the model ships by name; files win over what the configuration holds."""
    named = {path.stem: path.read_text("utf-8") for path in sorted(directory.glob("additional_chat_templates/*.jinja"))}
    single = directory / "chat_template.jinja"
    if single.is_file():
        return {**named, "default": single.read_text("utf-8")}
    held = config.get("chat_template", _json(directory / "chat_template.json").get("chat_template"))
    if isinstance(held, str):
        return {**named, "default": held}
    if isinstance(held, list):
        held = {entry["name"]: entry["template"] for entry in held if isinstance(entry, Mapping)}
    return {**(held if isinstance(held, Mapping) else {}), **named}


def _choose(
    asked: str | None,
    own: Mapping[str, str],
    tokenizer: Tokenizer,
    tokens: Mapping[str, str],
    vocabulary: frozenset[str],
) -> tuple[ChosenTemplate, str]:
    """(the template, its name); both empty for a model that ships none."""
    if asked is None:
        return ChosenTemplate(own.get("default", "")), OWN_TEMPLATE if own.get("default") else ""
    if asked in BUILTIN_TEMPLATES:
        bos = tokenizer.token_to_id(tokens["bos_token"]) if "bos_token" in tokens else None
        starts_with_bos = bos is not None and tokenizer.encode("").ids[:1] == [bos]
        return fit_template(asked, vocabulary=vocabulary, starts_with_bos=starts_with_bos), asked
    if asked in own:
        return ChosenTemplate(own[asked]), asked
    path = Path(asked).expanduser()
    if path.is_file():
        try:
            return ChosenTemplate(path.read_text("utf-8")), asked
        except UnicodeDecodeError as damage:
            raise _invalid(f"The chat template {asked} is not UTF-8 text.") from damage
    names = (*BUILTIN_TEMPLATES, *(name for name in own if name != "default"))
    close = nearest(asked, names)
    meant = f' Did you mean "{close}"?' if close else ""
    raise _invalid(
        f'There is no chat template "{asked}": no built-in has this name, and no file.{meant}',
        hint="Choose one of " + ", ".join(names) + ", or give a Jinja file.",
    )


def _compile(source: str, with_tools: str | None, tokens: Mapping[str, str], name: str) -> ChatTemplate | None:
    if not source:
        return None
    try:
        return ChatTemplate(source, special_tokens=tokens, with_tools=with_tools)
    except TemplateSyntaxError as wrong:
        raise _invalid(f"The chat template ({name}) has an error in line {wrong.lineno}: {wrong.message}") from wrong


def _unloadable(message: str, *, hint: str = "") -> BackpropError:
    return BackpropError(Problem("DEP_MODEL_LOAD_FAILED", message, where="--model", hint=hint))


def _invalid(message: str, *, hint: str = "") -> BackpropError:
    return BackpropError(Problem("INPUT_CHAT_TEMPLATE_INVALID", message, where="--chat-template", hint=hint))
