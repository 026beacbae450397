"""The finished adapter of a run: the weights of one of its checkpoints beside the tokenizer's own files."""

from __future__ import annotations

import shutil
from pathlib import Path

from backprop.effects.files.atomic import PARTIAL, replace_directory, writing

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
CHAT_TEMPLATE_FILE = "chat_template.jinja"


def hand_over_adapter(
    run_dir: Path, *, checkpoint: Path, model_dir: Path, chat_template: str | None, card: str
) -> Path:
    """Put ``<run>/adapter`` together and into place; its path. Nothing in it was written twice or changed.

    ``chat_template`` is the template that the run trained with; it stands in the file that transformers reads first.
    Raises ``BackpropError``; on failure a former adapter stands.
    """
    final = run_dir / "adapter"
    staged = run_dir / f"{PARTIAL}adapter"
    with writing(final):
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        for name in ADAPTER_FILES:
            shutil.copyfile(checkpoint / name, staged / name)
        for name in TOKENIZER_FILES:
            if (model_dir / name).is_file():
                shutil.copyfile(model_dir / name, staged / name)
        if chat_template is not None:
            (staged / CHAT_TEMPLATE_FILE).write_text(chat_template, encoding="utf-8")
        (staged / "README.md").write_text(card, encoding="utf-8")
    replace_directory(staged, final)
    return final
