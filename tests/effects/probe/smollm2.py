"""The tokenizer of a real model, with its own chat template or another, and what of a row it learns."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from backprop.effects.probe.row_tokens import RowTokenizer, TokenizedRow
from backprop.effects.probe.tokenizer import ChatTokenizer, observe_tokenizer
from backprop.plan.data.conversation import Example, Preference, Rated

MODEL = Path(__file__).parents[3] / ".models" / "SmolLM2-135M-Instruct"


@cache
def chat_tokenizer(chat_template: str | None = None) -> ChatTokenizer:
    tokenizer = observe_tokenizer(str(MODEL), chat_template=chat_template)
    assert isinstance(tokenizer, ChatTokenizer), tokenizer
    return tokenizer


def tokenized(
    example: Example, tokenizer: ChatTokenizer, *, max_seq_length: int = 4096, train_on_prompt: bool = False
) -> TokenizedRow:
    assert not isinstance(example, (Preference, Rated))
    rows = RowTokenizer(tokenizer, max_seq_length, train_on_prompt)
    return rows.tokenize([("rows.jsonl:1", rows.write(example))])[0]


def learned_text(row: TokenizedRow, tokenizer: ChatTokenizer) -> str:
    """The tokens that the loss is taken over, as text."""
    return tokenizer.decode([id for id, learned in zip(row.ids, row.mask, strict=True) if learned])
