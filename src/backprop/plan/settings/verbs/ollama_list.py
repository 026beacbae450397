"""What ``backprop ollama list`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.verbs.shared import json_flag


@attrs.frozen
class OllamaListSettings:
    """``backprop ollama list``"""

    json: bool = json_flag("the models")
