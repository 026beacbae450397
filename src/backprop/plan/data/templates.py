"""The chat templates that come built in, as data: for models that ship none, or to choose another."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class BuiltinTemplate:
    """Jinja source in which ``@BOS@`` and ``@END@`` stand for the first token and the one that ends a turn."""

    source: str
    end: str = ""
    """The token that ends a turn; empty for the tokenizer's own end-of-sequence token."""


@attrs.frozen
class ChosenTemplate:
    """A built-in template fitted to a tokenizer."""

    source: str
    note: str = ""
    """What had to be changed, for the plan; empty when nothing."""


_SYSTEM_FIRST = (
    "{% set system = '' %}{% set turns = messages %}"
    "{% if messages and messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] | trim %}{% set turns = messages[1:] %}{% endif %}"
)
_SYSTEM_IN_USER_TURN = _SYSTEM_FIRST + (
    "{% if system and (not turns or turns[0]['role'] == 'assistant') %}"
    "{% set turns = [{'role': 'user', 'content': system}] + turns %}{% set system = '' %}{% endif %}"
)
"""For formats without a system role: the system prompt goes into the first user turn, or is one."""

_CHATML = BuiltinTemplate(
    "@BOS@{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}@END@\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    end="<|im_end|>",
)
_LLAMA3 = BuiltinTemplate(
    "@BOS@{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}@END@{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    end="<|eot_id|>",
)
_GEMMA = BuiltinTemplate(
    "@BOS@" + _SYSTEM_IN_USER_TURN + "{% for message in turns %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% if loop.first and system %}{{ system }}\n\n{% endif %}"
    "{{ message['content'] | trim }}@END@\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    end="<end_of_turn>",
)
_MISTRAL = BuiltinTemplate(
    "@BOS@" + _SYSTEM_IN_USER_TURN + "{% for message in turns %}{% if message['role'] == 'assistant' %} "
    "{{ message['content'] | trim }}@END@{% else %}[INST] {% if loop.first and system %}{{ system }}\n\n{% endif %}"
    "{{ message['content'] | trim }} [/INST]{% endif %}{% endfor %}"
)
_ALPACA = BuiltinTemplate(
    "@BOS@" + _SYSTEM_FIRST + "{% if system %}{{ system }}\n\n{% endif %}{% for message in turns %}"
    "{% if message['role'] == 'assistant' %}### Response:\n{{ message['content'] }}@END@\n\n"
    "{% else %}### Instruction:\n{{ message['content'] }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)
_PLAIN = BuiltinTemplate(
    "@BOS@" + _SYSTEM_FIRST + "{% if system %}{{ system }}\n\n{% endif %}{% for message in turns %}"
    "{% if message['role'] == 'assistant' %}Assistant: {{ message['content'] | trim }}@END@\n"
    "{% else %}{{ message['role'] | capitalize }}: {{ message['content'] | trim }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)

BUILTIN_TEMPLATES: Mapping[str, BuiltinTemplate] = {
    "chatml": _CHATML,
    "llama3": _LLAMA3,
    "gemma": _GEMMA,
    "mistral": _MISTRAL,
    "alpaca": _ALPACA,
    "plain": _PLAIN,
}


def fit_template(name: str, *, vocabulary: frozenset[str], starts_with_bos: bool) -> ChosenTemplate:
    """A built-in template for a tokenizer that has these added tokens.

    A turn must end with a single token, or the model could not learn to stop: where the template's own end token is
    not in the vocabulary the tokenizer's end-of-sequence token takes its place. The first token is written only for
    tokenizers that put one before every text.
    """
    template = BUILTIN_TEMPLATES[name]
    own_end = bool(template.end) and template.end in vocabulary
    source = template.source.replace("@END@", template.end if own_end else "{{ eos_token }}")
    source = source.replace("@BOS@", "{{ bos_token }}" if starts_with_bos else "")
    if own_end or not template.end:
        return ChosenTemplate(source)
    return ChosenTemplate(source, f"The vocabulary has no {template.end}, so turns end with the eos token.")


def alpaca_prompt(messages: tuple[Mapping[str, str], ...]) -> str:
    """The prompt that the alpaca template asks with, for models that are trained without a template."""
    blocks = [
        message["content"] if message["role"] == "system" else f"### Instruction:\n{message['content']}"
        for message in messages
    ]
    return "".join(f"{block}\n\n" for block in blocks) + "### Response:\n"
