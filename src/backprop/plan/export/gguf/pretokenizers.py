"""How text is cut before it is tokenized, by the names that llama.cpp knows the ways by.

A tokenizer's own cutter is compared with these on a probe text, so that other spellings of the same way are found and
nothing depends on the vocabulary. Source: llama.cpp src/llama-vocab.cpp, llm_tokenizer_bpe, and the tokenizer.json of
the models named.
"""

from __future__ import annotations

import attrs

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_START, _END = r"[^\r\n\p{L}\p{N}]?", r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = rf"{_START}{_UPPER}*{_LOWER}+|{_START}{_UPPER}+{_LOWER}*|\p{{N}}|{_END}"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_GPT4O = rf"{_START}{_UPPER}*{_LOWER}+{_SHORT}|{_START}{_UPPER}+{_LOWER}*{_SHORT}|\p{{N}}{{1,3}}|{_END}"


@attrs.frozen
class Pretokenizer:
    """A way to cut text."""

    name: str
    """``tokenizer.ggml.pre``."""
    patterns: tuple[str, ...]
    """Applied one after the other; each match stands alone, and so does what is between."""
    ignores_merges: bool = False
    """A word that is in the vocabulary is taken whole, whatever its merges."""
    cleans_spaces: bool | None = None
    """For one of two ways that differ in this alone: ``clean_up_tokenization_spaces``."""


PRETOKENIZERS = (
    Pretokenizer("llama-bpe", (_LLAMA3,), ignores_merges=True),
    Pretokenizer("dbrx", (_LLAMA3,)),
    Pretokenizer("qwen2", (_QWEN2,)),
    Pretokenizer("smollm", (r"\p{N}", _GPT2), cleans_spaces=False),
    Pretokenizer("refact", (r"\p{N}", _GPT2), cleans_spaces=True),
    Pretokenizer("gpt-2", (_GPT2,)),
    Pretokenizer("tekken", (_TEKKEN,), ignores_merges=True),
    Pretokenizer("gpt-4o", (_GPT4O,)),
)

PROBE = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n\r\n\r\r\n"
    "It's I'LL we've you'Re they'd He'S 'tis o'clock don't DON'T 'Quoted' ''''''  \"\"\"\" "
    "ten   11\t\t12\n\n  13 end.\nnext;\r\n};\n\n?! \n "
    "one  two   three    four\tfive \t six\u00a0seven\u2003eight \u3000nine. "
    "3 33 333 3333 33333 3.14 1,000,000 -7 +8 2024-11-26 5th A4 x2y 12ab34 ½ ² Ⅷ ٣٤٥ १२३ "
    "camelCase HTTPServer iPhone SCREAMING_CASE snake_case kebab-case __init__ a/b//c \\n path/to/file.txt\n"
    "x==y; if (a<b && c>=d) { return !e; }  // note\n\n\t/* end */ #!/usr/bin/env <|tag|> <b>bold</b> ```code``` "
    "...!!!??? ---===~~~ (a) [b] {c} $9.99 50% #1 @you user@example.org https://example.org/?q=1&r=2#top "
    "нещо на Български Καλημέρα შენ ἀρχή şeker Straße ŒUVRE ǅ ʰ naïve nai\u0308ve "
    "我想在apple工作1314151天～ 日本語テスト、かな。 한국어 시험 កាន់តែពិសេស ไทยทดสอบ हिन्दी परीक्षण עברית العربية "
    "🚀 (normal) 😶\u200d🌫️ 👩🏽\u200d🚀 ✅ 🦙🦙 ∑∞≠ → ← ©®™ \u200b \ufeff ― – — "
    "“quotes” ‘single’ «guillemets» … trailing   "
)
"""Text on which every two of the ways differ, and on which other ways of the models that exist differ from them."""


def choose(matching: tuple[str, ...], *, ignores_merges: bool, cleans_spaces: bool) -> Pretokenizer | None:
    """The way among those that cut the probe as the tokenizer does; None when llama.cpp has none like it."""
    return next(
        (
            way
            for way in PRETOKENIZERS
            if way.name in matching
            and way.ignores_merges == ignores_merges
            and way.cleans_spaces in (None, cleans_spaces)
        ),
        None,
    )
