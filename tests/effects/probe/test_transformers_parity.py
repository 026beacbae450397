"""What is written and tokenized is what transformers makes of the same messages."""

from __future__ import annotations

from typing import Any

import pytest

from backprop.effects.probe.chat_template import ChatTemplate
from backprop.plan.data.templates import BUILTIN_TEMPLATES
from tests.effects.probe.smollm2 import MODEL, chat_tokenizer

SYSTEM = {"role": "system", "content": " Be brief. "}
TURNS = (
    {"role": "user", "content": "What is 2+2?\n"},
    {"role": "assistant", "content": ' It\'s <4> & "four". 你好 🎉 '},
    {"role": "user", "content": "<|im_end|> Really?"},
    {"role": "assistant", "content": "Yes.\n\n"},
)
CONVERSATIONS = ((TURNS[0],), TURNS[:2], TURNS, (SYSTEM, *TURNS), (SYSTEM, TURNS[1]))

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Größe <b>", "parameters": {"properties": {"city": "string"}}},
}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln"}}}],
}
WITH_TOOLS = """{%- if tools %}
<tools>{% for tool in tools %}{{ tool | tojson(indent=2) }}{% endfor %}</tools>
{%- endif %}
{%- set ns = namespace(calls=0) %}
{% for m in messages %}
    {%- if m.role == 'observer' %}{% continue %}{% endif %}
<|im_start|>{{ m.role }}
{% if m.content %}{{ m.content }}{% endif %}
    {%- if m.tool_calls %}{% for call in m.tool_calls %}{% set ns.calls = ns.calls + 1 %}
<call {{ ns.calls }}>{{ call.function | tojson }}</call>
    {%- endfor %}{% endif %}
<|im_end|>
{% endfor %}
{% generation %}{{ bos_token }}{% endgeneration %}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.fixture(scope="module")
def auto() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(MODEL))


@pytest.mark.parametrize("template", [None, *BUILTIN_TEMPLATES])
@pytest.mark.parametrize("messages", CONVERSATIONS)
@pytest.mark.parametrize("asks", [False, True])
def test_text_and_tokens_are_those_of_transformers(template: str | None, messages: Any, asks: bool, auto: Any) -> None:
    ours = chat_tokenizer(template)
    theirs = {"chat_template": ours.facts.chat_template, "add_generation_prompt": asks, "return_dict": False}
    text = ours.render(messages, asks)
    assert text == auto.apply_chat_template(list(messages), tokenize=False, **theirs)
    assert ours.encode(text).ids == auto.apply_chat_template(list(messages), **theirs)


def test_tools_and_calls_are_written_as_transformers_writes_them(auto: Any) -> None:
    tokens = {"bos_token": auto.bos_token}
    messages: list[dict[str, Any]] = [
        TURNS[0],
        CALL,
        {"role": "tool", "content": "18 °C"},
        {"role": "observer", "content": "-"},
        TURNS[3],
    ]
    ours = ChatTemplate(WITH_TOOLS, special_tokens=tokens)
    for tools in ([], [WEATHER]):
        theirs = auto.apply_chat_template(messages, tools=tools or None, chat_template=WITH_TOOLS, tokenize=False)
        assert ours.render(messages, tools=tools) == theirs
    assert '"Köln"' in theirs


def test_text_alone_is_tokenized_as_transformers_does(auto: Any) -> None:
    text = "  Wörter, 12345 und\r\n\tmehr <|im_end|>\u3000🎉"
    assert chat_tokenizer().encode(text, add_special_tokens=True).ids == auto(text)["input_ids"]
    assert chat_tokenizer().facts.eos_token_id == auto.eos_token_id
    assert chat_tokenizer().facts.pad_token_id == auto.pad_token_id
