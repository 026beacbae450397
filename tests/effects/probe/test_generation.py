"""What an adapter's directory says of itself, however damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from backprop.effects.probe.generation import observe_target
from backprop.plan.facts.absent import Absent


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": ' + b"[" * 200_000, "it is nested too deeply."),
        (b"{", "it is not JSON: "),
        (b"[]", "it is not a JSON object."),
    ],
)
def test_a_damaged_adapter_configuration_is_named_with_what_is_wrong(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "adapter_model.safetensors").touch()
    (tmp_path / "adapter_config.json").write_bytes(content)
    found = observe_target(str(tmp_path))
    assert isinstance(found, Absent)
    assert found.problem.code == "INPUT_VALIDATION_FAILED"
    assert f"adapter_config.json cannot be read: {words}" in found.problem.message
