"""What stands in the directory that text is to be generated from."""

from __future__ import annotations

import attrs


@attrs.frozen
class TargetFacts:
    """An adapter with what it says of its base, or a whole model. Just one of the two directories is set."""

    adapter_dir: str | None = None
    model_dir: str | None = None
    recorded_base: str | None = None
    """``base_model_name_or_path`` of the adapter's configuration."""
    recorded_commit: str | None = None
    """``revision`` of the adapter's configuration: the base's Hub commit."""
    has_tokenizer: bool = False
    """The adapter came with the tokenizer and the chat template that it was trained with."""


@attrs.frozen
class PromptFacts:
    """The prompt as the model gets it."""

    prompt: str
    """As the user gave it."""
    text: str
    """With the chat template around it, unless it is raw."""
    ids: tuple[int, ...]
    stop_ids: tuple[int, ...]
    """Every token that ends a text or a turn for this model."""
