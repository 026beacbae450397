"""One tiny model and one data set for all runs of the program."""

from __future__ import annotations

import pytest

from tests.tiny import make_tiny_model, write_conversations


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a tiny model; what trains it is loaded, for the processes that are forked."""
    import backprop.effects.generate
    import backprop.effects.train.session  # noqa: F401

    return str(make_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of short conversations."""
    return str(write_conversations(tmp_path_factory.mktemp("data") / "rows.jsonl"))
