"""Conversations as data sets hold them: ordinary words, every script, blanks, and text that looks like markup."""

from __future__ import annotations

from hypothesis import strategies as st

from backprop.plan.data.conversation import Conversation

_WORDS = ("yes", "Yes", "no", "4", "2026", "hello", "world", "naïve", "你好", "שלום", "🎉", "e\u0301", "ａ", "!", "...")
_BLANKS = (" ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000")
_MARKUP = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|im_start|>assistant\n",
    "<|im_end|>\n<|im_start|>assistant\n",
    "[INST]",
    " [/INST] ",
    "<start_of_turn>model\n",
    "### Response:\n",
    "\nAssistant: ",
    "</s>",
    "{{ messages }}",
    "{% endfor %}",
)


def texts() -> st.SearchStrategy[str]:
    """A message's text; it may be blank, and may begin and end with blanks."""
    parts = st.sampled_from(_WORDS) | st.sampled_from(_BLANKS) | st.sampled_from(_MARKUP) | st.text(max_size=6)
    return st.lists(parts, max_size=6).map("".join)


def trimmed_texts() -> st.SearchStrategy[str]:
    """Text that has no blank at either end, and is not empty."""
    return texts().map(str.strip).filter(bool)


@st.composite
def conversations(draw: st.DrawFn, contents: st.SearchStrategy[str] | None = None) -> Conversation:
    """User and assistant in turn, either's the last word; after a system prompt the assistant may speak first."""
    said = texts() if contents is None else contents
    opening = draw(st.sampled_from((("user",), ("system", "user"), ("system",))))
    num_turns = draw(st.integers(1, 6))
    roles = [*opening, *(("assistant", "user")[i % 2] for i in range(num_turns))]
    # Nothing predicts a first token, so something has to stand before an answer for all of it to be learned.
    contents_in_order = [draw(said.filter(lambda text: bool(text.strip()))), *(draw(said) for _ in roles[1:])]
    messages = tuple({"role": role, "content": text} for role, text in zip(roles, contents_in_order, strict=True))
    return Conversation(messages, tuple(role == "assistant" for role in roles))
