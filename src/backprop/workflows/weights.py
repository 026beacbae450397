"""Where the weights of an observed model stand; those of a Hub model are brought here first."""

from __future__ import annotations

from pathlib import Path

from backprop.effects.probe.hub import fetch_weights
from backprop.plan.facts.model import ModelFacts, ModelSource


def weights_directory(model: ModelFacts, *, commit: str | None = None) -> Path:
    """A directory that transformers can load; ``commit`` replaces the one that was observed.

    Raises ``BackpropError`` with the code of what the Hub answered.
    """
    if model.source is ModelSource.DIRECTORY:
        assert model.directory is not None
        return Path(model.directory)
    return fetch_weights(model.name, commit or model.commit)
