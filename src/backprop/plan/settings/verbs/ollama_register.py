"""What ``backprop ollama register`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.kinds import Switch, Words
from backprop.plan.settings.option import opt
from backprop.plan.settings.verbs.shared import json_flag


@attrs.frozen
class OllamaRegisterSettings:
    """``backprop ollama register``"""

    path: str = opt(
        Words(),
        positional=True,
        help="GGUF file, directory with one in it, or adapter directory, which is exported as q4_k_m first.",
        metavar="PATH",
        file_like=True,
    )
    name: str | None = opt(
        Words(), "--name", unset="from the path", help="Name in Ollama, as `ollama run` takes it.", metavar="NAME"
    )
    modelfile: str | None = opt(
        Words(),
        "--modelfile",
        unset="template, stop tokens and system prompt of the training",
        help="Modelfile with what differs from the training.",
        metavar="FILE",
        file_like=True,
    )
    overwrite: bool = opt(
        Switch(), "--overwrite", default=True, help="Replace a model of the name that Ollama has already."
    )
    json: bool = json_flag("what was registered")
