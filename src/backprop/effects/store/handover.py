"""What a run hands over: the weights of one of its checkpoints beside the model's own files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from backprop.effects.files.atomic import PARTIAL, replace_directory, writing
from backprop.effects.files.json_file import read_object
from backprop.plan.export.card import Card
from backprop.plan.facts.model_files import CHAT_TEMPLATE_FILE, TOKENIZER_FILES

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
WHOLE_WEIGHTS = "model*.safetensors*"
"""One file, or shards and their index."""


def hand_over_adapter(
    run_dir: Path, *, checkpoint: Path, model_dir: Path, chat_template: str | None, card: Card
) -> Path:
    """Put ``<run>/adapter`` together and into place; its path. Nothing in it was written twice or changed.

    ``chat_template`` is the template that the run trained with; it stands in the file that transformers reads first.
    Raises ``BackpropError``; on failure a former adapter stands.
    """
    final = run_dir / "adapter"
    with _assembled(final, model_dir=model_dir, chat_template=chat_template, card=card) as staged:
        for name in ADAPTER_FILES:
            shutil.copyfile(checkpoint / name, staged / name)
    return final


def hand_over_model(
    run_dir: Path, *, checkpoint: Path, model_dir: Path, chat_template: str | None, card: Card, dtype: str
) -> Path:
    """Put ``<run>/model`` together and into place as :func:`hand_over_adapter` does; its path.

    The weights are the checkpoint's own files under a second name where the file system can do that. The model's
    configurations and its code, if it has any, are those that it came with, but for ``dtype``, torch's name of the
    format that the weights are held in now.
    """
    final = run_dir / "model"
    with _assembled(final, model_dir=model_dir, chat_template=chat_template, card=card) as staged:
        for weights in sorted(checkpoint.glob(WHOLE_WEIGHTS)):
            _link_or_copy(weights, staged / weights.name)
        for path in (model_dir / "generation_config.json", *sorted(model_dir.glob("*.py"))):
            if path.is_file():
                shutil.copyfile(path, staged / path.name)
        config = _with_dtype(read_object(model_dir / "config.json"), dtype)
        (staged / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return final


@contextmanager
def _assembled(final: Path, *, model_dir: Path, chat_template: str | None, card: Card) -> Iterator[Path]:
    """A directory to put weights in, which becomes ``final`` with tokenizer, template and card.

    On failure nothing of it stays: on a full disk the run's record needs the room.
    """
    staged = final.with_name(f"{PARTIAL}{final.name}")
    with writing(final), ExitStack() as on_failure:
        on_failure.callback(shutil.rmtree, staged, ignore_errors=True)
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        yield staged
        for name in TOKENIZER_FILES:
            if (model_dir / name).is_file():
                shutil.copyfile(model_dir / name, staged / name)
        if chat_template is not None and not _says(staged / CHAT_TEMPLATE_FILE, chat_template):
            (staged / CHAT_TEMPLATE_FILE).write_text(chat_template, encoding="utf-8")
        for name, content in card.files:
            (staged / name).write_text(content, encoding="utf-8")
        replace_directory(staged, final)
        on_failure.pop_all()


def _says(file: Path, text: str) -> bool:
    """Whether the file holds the text, whatever ends its lines: the model's own then stays as it is, byte for byte."""
    return file.is_file() and file.read_text(encoding="utf-8").strip() == text.replace("\r\n", "\n").strip()


def _link_or_copy(source: Path, target: Path) -> None:
    # Nothing ever writes into a weight file, so that checkpoint and model can share it.
    try:
        os.link(source, target)
    except (OSError, NotImplementedError):
        shutil.copyfile(source, target)


def _with_dtype(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Under the name that the configuration has for it: ``torch_dtype`` before transformers 5, ``dtype`` since."""
    old = "torch_dtype" in config and "dtype" not in config
    return {**config, "torch_dtype" if old else "dtype": dtype}
