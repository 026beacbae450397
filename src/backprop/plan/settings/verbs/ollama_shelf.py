"""What ``backprop ollama shelf`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.kinds import Words
from backprop.plan.settings.option import opt
from backprop.plan.settings.verbs.shared import json_flag


@attrs.frozen
class OllamaShelfSettings:
    """``backprop ollama shelf``"""

    base_model: str = opt(
        Words(), positional=True, help="Name in Ollama of the model that the adapters build on.", metavar="BASE"
    )
    json: bool = json_flag("the adapters")
