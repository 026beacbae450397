"""What docs/python.md shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tiny import make_tiny_model, write_conversations

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_tiny_model(tmp_path / "path" / "to" / "model")
    write_conversations(tmp_path / "rows.jsonl", rows=6)
    code = EXAMPLES[number].replace("steps=100", "steps=2")
    exec(compile(code, str(PAGE), "exec"), {})
