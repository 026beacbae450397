"""What a layout holds comes back as it was."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backprop.plan.data.conversation import Conversation
from backprop.plan.data.converting import Target, convert_example
from backprop.plan.data.layout import Layout, layout_of
from backprop.plan.data.rows import read_row

TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
LAYOUTS = {Target.OPENAI: Layout.OPENAI, Target.SHAREGPT: Layout.SHAREGPT, Target.ALPACA: Layout.ALPACA}


@st.composite
def conversations(draw: st.DrawFn, *, num_exchanges: int) -> Conversation:
    """A system prompt perhaps, then questions and answers, some of them not to be learned."""
    messages: list[dict[str, Any]] = []
    learned: list[bool] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(TEXTS)})
        learned.append(False)
    for _ in range(draw(st.integers(1, num_exchanges))):
        messages += [{"role": "user", "content": draw(TEXTS)}, {"role": "assistant", "content": draw(TEXTS)}]
        learned += [False, num_exchanges == 1 or draw(st.booleans())]
    return Conversation(tuple(messages), tuple(learned))


@given(conversations(num_exchanges=4), st.sampled_from((Target.OPENAI, Target.SHAREGPT)))
def test_a_chat_comes_back_from_openai_and_sharegpt(chat: Conversation, target: Target) -> None:
    row = convert_example(chat, target)
    assert layout_of(row, text_column="text") is LAYOUTS[target]
    assert read_row(row, LAYOUTS[target], text_column="text") == chat


@given(conversations(num_exchanges=1))
def test_one_exchange_comes_back_from_alpaca(chat: Conversation) -> None:
    row = convert_example(chat, Target.ALPACA)
    assert layout_of(row, text_column="text") is Layout.ALPACA
    assert read_row(row, Layout.ALPACA, text_column="text") == chat


@given(conversations(num_exchanges=1), st.lists(st.sampled_from(Target), min_size=1, max_size=4))
def test_layouts_may_follow_one_another(chat: Conversation, targets: list[Target]) -> None:
    seen = chat
    for target in targets:
        read = read_row(convert_example(seen, target), LAYOUTS[target], text_column="text")
        assert isinstance(read, Conversation)
        seen = read
    assert seen == chat
