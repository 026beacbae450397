"""Prompts in Ollama are those of the training: both are rendered and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from backprop.effects.probe.chat_template import ChatTemplate
from backprop.effects.probe.gguf_file import observe_gguf
from backprop.effects.probe.turns import modelfile_of_gguf, modelfile_of_tokenizer
from backprop.plan.data.templates import BUILTIN_TEMPLATES, fit_template
from backprop.plan.errors import BackpropError
from backprop.plan.export.turn_format import NoTurnFormat, TurnFormat, derive_turns, go_template, stop_tokens
from tests.gguf_files import write_model
from tests.go_template import prompt_of
from tests.tiny import CHATML, make_tiny_model

ENDS = frozenset({"<|im_end|>", "<|eot_id|>", "<end_of_turn>"})
DEFAULT = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe { kind }.<|im_end|>\n{% endif %}" + CHATML
DATED = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set s = messages[0]['content'] %}"
    "{% set messages = messages[1:] %}{% else %}{% set s = '' %}{% endif %}<|h|>system\nDate: 1\n{{ s }}<|e|>"
    "{% for m in messages %}<|h|>{{ m['role'] }}\n{{ m['content'] }}<|e|>{% endfor %}"
    "{% if add_generation_prompt %}<|h|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] }}<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
THINKING = CHATML.removesuffix("{% endif %}") + "<think>\n\n</think>\n\n{% endif %}"
COUNTING = "{% for m in messages %}{{ loop.index }} {{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"

CONVERSATIONS = (
    ("user:Who?",),
    ("system:Be brief.", "user:Who?"),
    ("user:Who?", "assistant:She.", "user:When,\n{{ and }} why?"),
    ("system:Be brief.", "user:Who?", "assistant:She.", "user:When?", "assistant:Now.", "user:Why?"),
)


def messages(turns: Sequence[str]) -> list[dict[str, str]]:
    pairs = (turn.split(":", 1) for turn in turns)
    return [{"role": role, "content": content} for role, content in pairs]


def template_of(source: str) -> ChatTemplate:
    return ChatTemplate(source, special_tokens={"bos_token": "<s>", "eos_token": "</s>"})


@pytest.mark.parametrize("turns", CONVERSATIONS)
@pytest.mark.parametrize("starts_with_bos", [True, False])
@pytest.mark.parametrize("source", [*BUILTIN_TEMPLATES, CHATML, DEFAULT, DATED, NO_SYSTEM, THINKING])
def test_ollama_writes_the_prompt_that_the_model_was_trained_on(
    source: str, starts_with_bos: bool, turns: Sequence[str]
) -> None:
    if source in BUILTIN_TEMPLATES:
        source = fit_template(source, vocabulary=ENDS, starts_with_bos=starts_with_bos).source
    elif source == NO_SYSTEM and turns[0].startswith("system"):
        return
    template, bos = template_of(source), "<s>" if starts_with_bos else ""
    found = derive_turns(template.render, bos=bos)
    assert isinstance(found, TurnFormat), found
    conversation = messages(turns)
    if found.default_system is not None and conversation[0]["role"] != "system":
        # This is what SYSTEM in a Modelfile does.
        asked = [{"role": "system", "content": found.default_system}, *conversation]
    else:
        asked = conversation
    trained = template.render(conversation, True)
    assert prompt_of(go_template(found), asked) == trained.removeprefix(bos)
    assert found.write(conversation) == trained.removeprefix(bos)


def test_a_system_prompt_is_not_lost_where_the_template_foresees_none() -> None:
    found = derive_turns(template_of(NO_SYSTEM).render)
    assert isinstance(found, TurnFormat)
    assert prompt_of(go_template(found), messages(["system:Be brief.", "user:Who?"])) == (
        "<user>Be brief.\n\nWho?<end><assistant>"
    )


def test_an_answer_that_was_begun_is_gone_on_with() -> None:
    found = derive_turns(template_of(CHATML).render)
    assert isinstance(found, TurnFormat)
    prompt = prompt_of(go_template(found), messages(["user:Who?", "assistant:It was"]))
    assert prompt.endswith("<|im_start|>assistant\nIt was")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (COUNTING, "more than the turn's role"),
        ("{{ raise_exception('no') }}", "refuses an ordinary conversation"),
        ("{% for m in messages %}{% if loop.last %}{{ m['content'] }}{% endif %}{% endfor %}", "more than the turn's"),
        ("<a>" + CHATML.replace("m['content']", "m['content'] | upper"), "more than the turn's"),
    ],
)
def test_a_template_that_is_no_sum_of_turns_is_told(source: str, reason: str) -> None:
    found = derive_turns(template_of(source).render)
    assert isinstance(found, NoTurnFormat)
    assert reason in found.reason


def test_what_only_long_conversations_show_is_found_by_writing_them() -> None:
    cutting = CHATML.replace("messages %}", "(messages[-3:] if messages | length > 4 else messages) %}", 1)
    found = derive_turns(template_of(cutting).render)
    assert isinstance(found, NoTurnFormat)
    assert "a longer conversation with a system prompt" in found.reason


def test_answers_end_at_the_token_of_the_turn_and_at_that_of_the_text() -> None:
    found = derive_turns(template_of(CHATML).render)
    assert isinstance(found, TurnFormat)
    special = ("<|im_start|>", "<|im_end|>", "</s>")
    assert stop_tokens(found, special=special, eos="</s>") == ("<|im_end|>", "</s>")
    assert stop_tokens(found, special=special, eos="<|im_end|>") == ("<|im_end|>",)
    assert stop_tokens(found, special=(), eos=None) == ()


def test_the_tokenizer_of_a_directory_and_the_metadata_of_a_file_give_the_same(tmp_path: Path) -> None:
    of_directory = modelfile_of_tokenizer(make_tiny_model(tmp_path / "model"))
    of_file = modelfile_of_gguf(observe_gguf(write_model(tmp_path / "m.gguf")))
    assert of_directory == of_file
    assert dict(of_file.parameters) == {"stop": ("<|im_end|>",)}


def test_a_default_system_prompt_becomes_system(tmp_path: Path) -> None:
    found = modelfile_of_gguf(observe_gguf(write_model(tmp_path / "m.gguf", template=DEFAULT)))
    assert found.system == "Be { kind }."


def test_a_template_that_ollama_cannot_write_is_refused_with_the_way_on(tmp_path: Path) -> None:
    with pytest.raises(BackpropError) as caught:
        modelfile_of_gguf(observe_gguf(write_model(tmp_path / "m.gguf", template=COUNTING)))
    (problem,) = caught.value.problems
    assert problem.code == "INPUT_CHAT_TEMPLATE_INVALID"
    assert "--modelfile" in problem.hint
