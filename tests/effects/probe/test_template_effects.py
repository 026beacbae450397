"""What a template does to the text that is to be learned, and how that is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backprop.effects.probe.row_tokens import TokenizedRow
from backprop.effects.probe.tokenizer import ChatTokenizer, observe_tokenizer
from backprop.plan.data.conversation import Conversation, Example, Pair, Passage, RowError
from backprop.plan.data.layout import Layout
from backprop.plan.data.rows import read_row
from backprop.plan.facts.absent import Absent
from tests.effects.probe.smollm2 import MODEL, chat_tokenizer, learned_text, tokenized

PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
STRIPS_THINKING = (
    "{% for m in messages %}{% set content = m.content %}"
    "{% if '</think>' in content and not loop.last %}"
    "{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ content }}<|im_end|>\n{% endfor %}" + PROMPT
)
WRITES_REASONING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}"
    "{% for call in m.tool_calls or [] %}\n<call>{{ call.function | tojson }}</call>{% endfor %}"
    "<|im_end|>\n{% endfor %}" + PROMPT
)
ENDS_NOTHING = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
DROPS_ANSWERS = "{% for m in messages if m.role == 'user' %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
REFUSES_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}{{ 1 }}"


def with_template(directory: Path, source: str) -> ChatTokenizer:
    path = directory / "template.jinja"
    path.write_text(source, "utf-8")
    tokenizer = observe_tokenizer(str(MODEL), chat_template=str(path))
    assert isinstance(tokenizer, ChatTokenizer), tokenizer
    return tokenizer


def openai(*turns: tuple[str, str] | dict[str, Any]) -> Example:
    messages = [turn if isinstance(turn, dict) else {"role": turn[0], "content": turn[1]} for turn in turns]
    return read_row({"messages": messages}, Layout.OPENAI, text_column="text")


def flags(row: TokenizedRow) -> tuple[bool, bool, bool]:
    """(lost, unplaced, unended)."""
    return row.counted.lost, row.counted.unplaced, row.counted.unended


def test_thinking_that_a_template_strips_is_lost_and_the_rest_is_learned(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, STRIPS_THINKING)
    thought = "<think>\nShe asks for yes.\n</think>\n\nYes."
    row = tokenized(openai(("user", "a"), ("assistant", thought), ("user", "b"), ("assistant", "No.")), tokenizer)
    assert flags(row) == (True, False, False)
    assert learned_text(row, tokenizer) == "Yes.<|im_end|>No.<|im_end|>"
    assert row.counted.excerpt == "She asks for yes."


def test_stripped_thinking_is_not_looked_for_in_the_answer_or_after_it(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, STRIPS_THINKING)
    thought = "<think>4</think>It is 4, yes."
    row = tokenized(
        openai(("user", "a"), ("assistant", thought), ("user", "It is 4, yes."), ("assistant", "No.")), tokenizer
    )
    assert flags(row) == (True, False, False)
    assert learned_text(row, tokenizer) == "It is 4, yes.<|im_end|>No.<|im_end|>"


def test_thinking_that_stays_is_learned(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, STRIPS_THINKING)
    row = tokenized(openai(("user", "a"), ("assistant", "<think>Hm.</think>Yes.")), tokenizer)
    assert flags(row) == (False, False, False)
    assert learned_text(row, tokenizer) == "<think>Hm.</think>Yes.<|im_end|>"


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_beside_the_content_is_learned_where_the_template_writes_it(tmp_path: Path, key: str) -> None:
    turns = (("user", "a"), {"role": "assistant", "content": "Yes.", key: "Hm."})
    writes = with_template(tmp_path, WRITES_REASONING)
    row = tokenized(openai(*turns), writes)
    assert flags(row) == (False, False, False)
    assert learned_text(row, writes) == "<think>\nHm.\n</think>\n\nYes.<|im_end|>"
    dropped = tokenized(openai(*turns), chat_tokenizer("chatml"))
    assert flags(dropped) == (True, False, False)
    assert learned_text(dropped, chat_tokenizer("chatml")) == "Yes.<|im_end|>"


def test_tool_calls_are_learned_and_the_results_are_not(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    calls = {"role": "assistant", "content": None, "tool_calls": [call]}
    turns = (("user", "2+2?"), calls, ("tool", "4"), ("assistant", "It is 4."))
    tokenizer = with_template(tmp_path, WRITES_REASONING.replace("{{ m.content }}", "{{ m.content or '' }}"))
    row = tokenized(openai(*turns), tokenizer)
    assert flags(row) == (False, False, False)
    called = '\n<call>{"name": "add", "arguments": {"a": 2}}</call><|im_end|>'
    assert learned_text(row, tokenizer).lstrip() == called.lstrip() + "It is 4.<|im_end|>"
    dropped = tokenized(openai(turns[0], {**calls, "content": "Well."}), chat_tokenizer("chatml"))
    assert flags(dropped) == (True, False, False)


def test_a_template_without_an_end_token_leaves_turns_unended(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, ENDS_NOTHING)
    row = tokenized(openai(("user", "a"), ("assistant", "Yes."), ("user", "b"), ("assistant", "No.")), tokenizer)
    assert flags(row) == (False, False, True)
    assert row.ends == ()
    assert learned_text(row, tokenizer) == "assistant: Yes.assistant: No."


def test_an_answer_that_the_template_drops_is_lost_and_the_row_has_no_target(tmp_path: Path) -> None:
    row = tokenized(openai(("user", "a"), ("assistant", "Yes.")), with_template(tmp_path, DROPS_ANSWERS))
    assert row.counted.lost
    assert not row.counted.is_trained


def test_the_templates_own_words_say_why_it_refuses_a_row(tmp_path: Path) -> None:
    with pytest.raises(RowError, match="the chat template refuses this row: no system role"):
        tokenized(openai(("system", "x"), ("user", "a"), ("assistant", "b")), with_template(tmp_path, REFUSES_SYSTEM))


@pytest.mark.parametrize(
    "reach",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ namespace(__class__=1) }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ dict.mro() }}",
        "{{ 10 ** 10 ** 10 if false else ''.__class__.__base__.__subclasses__() }}",
    ],
)
def test_a_template_reaches_nothing_but_its_messages(tmp_path: Path, reach: str) -> None:
    with pytest.raises(RowError, match="refuses this row"):
        with_template(tmp_path, reach).render(({"role": "user", "content": "a"},))


def test_an_unlearned_answer_is_not_in_the_mask() -> None:
    tokenizer = chat_tokenizer("chatml")
    turns = (("user", "a"), {"role": "assistant", "content": "Bad.", "weight": 0}, ("user", "b"), ("assistant", "Ok."))
    assert learned_text(tokenized(openai(*turns), tokenizer), tokenizer) == "Ok.<|im_end|>"


def test_raw_text_is_learned_whole_and_ended_but_for_its_first_token() -> None:
    tokenizer = chat_tokenizer()
    row = tokenized(Passage("Call me Ishmael."), tokenizer)
    assert tokenizer.decode(row.ids) == "Call me Ishmael.<|im_end|>"
    assert learned_text(row, tokenizer) == " me Ishmael.<|im_end|>"
    assert row.ends == ("<|im_end|>",)


def test_without_a_template_a_pair_is_joined_and_a_question_is_asked_as_alpaca(tmp_path: Path) -> None:
    tokenizer = bare_tokenizer(tmp_path)
    assert not tokenizer.has_template
    pair = tokenized(Pair("2+2=", "4"), tokenizer)
    assert tokenizer.decode(pair.ids) == "2+2=4<|im_end|>"
    assert learned_text(pair, tokenizer) == "4<|im_end|>"
    asked = Conversation(({"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}), (False, True))
    row = tokenized(asked, tokenizer)
    assert tokenizer.decode(row.ids) == "### Instruction:\n2+2?\n\n### Response:\n4<|im_end|>"
    assert learned_text(row, tokenizer) == "4<|im_end|>"
    with pytest.raises(RowError, match="needs a chat template"):
        tokenized(Conversation(asked.messages * 2, asked.learned * 2), tokenizer)


def bare_tokenizer(directory: Path) -> ChatTokenizer:
    (directory / "tokenizer.json").write_bytes((MODEL / "tokenizer.json").read_bytes())
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}), "utf-8")
    tokenizer = observe_tokenizer(str(directory), chat_template=None)
    assert isinstance(tokenizer, ChatTokenizer)
    return tokenizer


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("chatlm", 'Did you mean "chatml"?'),
        ("{{ x", "no built-in has this name, and no file"),
    ],
)
def test_an_unknown_template_is_answered_with_the_names_there_are(asked: str, words: str) -> None:
    absent = observe_tokenizer(str(MODEL), chat_template=asked)
    assert isinstance(absent, Absent)
    assert absent.problem.code == "INPUT_CHAT_TEMPLATE_INVALID"
    assert words in absent.problem.message
    assert "gemma, mistral, alpaca" in absent.problem.hint


def test_a_template_with_an_error_is_answered_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.jinja"
    path.write_text("{{ 1 }}\n{% for %}", "utf-8")
    absent = observe_tokenizer(str(MODEL), chat_template=str(path))
    assert isinstance(absent, Absent)
    assert "has an error in line 2" in absent.problem.message


@pytest.mark.parametrize(("data", "words"), [(None, "has no tokenizer.json"), (b"{", "cannot be read")])
def test_a_missing_or_damaged_tokenizer_is_named(tmp_path: Path, data: bytes | None, words: str) -> None:
    if data is not None:
        (tmp_path / "tokenizer.json").write_bytes(data)
    absent = observe_tokenizer(str(tmp_path), chat_template=None)
    assert isinstance(absent, Absent)
    assert absent.problem.code == "DEP_MODEL_LOAD_FAILED"
    assert words in absent.problem.message
