"""What ``backprop ollama rm`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.kinds import Words
from backprop.plan.settings.option import opt
from backprop.plan.settings.verbs.shared import json_flag


@attrs.frozen
class OllamaRmSettings:
    """``backprop ollama rm``"""

    name: str = opt(Words(), positional=True, help="Name of the model in Ollama.", metavar="NAME")
    json: bool = json_flag("what was removed")
