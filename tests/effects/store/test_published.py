from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backprop.effects.store.published import publish


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for run in ("first", "second"):
        (tmp_path / "output" / "runs" / run / "adapter").mkdir(parents=True)
        (tmp_path / "output" / "runs" / run / "adapter" / "weights").write_text(run)
    return tmp_path / "output"


def adapter(output: Path, run: str) -> Path:
    return output / "runs" / run / "adapter"


def no_links(target: str, link: Path) -> None:
    raise OSError(f"{link} to {target}: a required privilege is not held by the client")


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_lora_leads_to_the_latest_adapter_by_a_relative_link(output: Path) -> None:
    for run in ("first", "second"):
        publish(output, adapter(output, run))
        assert (output / "lora" / "weights").read_text() == run
    assert names_in(output) == ["lora", "runs"]
    moved = output.rename(output.with_name("moved"))
    assert (moved / "lora" / "weights").read_text() == "second"


def test_where_there_are_no_links_lora_is_a_copy(output: Path) -> None:
    for run in ("first", "second"):
        publish(output, adapter(output, run), link=no_links)
        assert (output / "lora" / "weights").read_text() == run
    assert not (output / "lora").is_symlink()
    assert names_in(output) == ["lora", "runs"]


def test_a_link_replaces_a_link_whose_run_was_removed(output: Path) -> None:
    publish(output, adapter(output, "first"))
    shutil.rmtree(output / "runs" / "first")
    publish(output, adapter(output, "second"))
    assert (output / "lora" / "weights").read_text() == "second"


def test_a_directory_that_was_there_before_is_kept(output: Path) -> None:
    (output / "lora").mkdir()
    (output / "lora" / "mine").touch()
    publish(output, adapter(output, "first"))
    assert (output / "lora.former-1" / "mine").exists()
    assert (output / "lora" / "weights").read_text() == "first"


def test_a_model_is_published_beside_an_adapter_of_an_earlier_run(output: Path) -> None:
    publish(output, adapter(output, "first"))
    model = output / "runs" / "second" / "model"
    model.mkdir()
    (model / "weights").write_text("all of them")
    assert publish(output, model) == output / "model"
    assert (output / "model" / "weights").read_text() == "all of them"
    assert (output / "lora" / "weights").read_text() == "first"
