"""``<output>/lora`` and ``<output>/model``: what the run that finished last handed over, always whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from backprop.effects.files.atomic import PARTIAL, replace_directory, set_aside, sync_directory, writing
from backprop.effects.store.layout import published_path

Link = Callable[[str, Path], None]


def _symlink(target: str, link: Path) -> None:
    link.symlink_to(target, target_is_directory=True)


def publish(output_dir: Path, result: Path, *, link: Link = _symlink) -> Path:
    """Let ``<output>/lora`` lead to an adapter, ``<output>/model`` to a model, under ``output_dir``; the path of it.

    A relative symbolic link, swapped in one step; where the system has none, a copy. A directory of the user's that
    has the name is set aside as ``lora.former-N`` or ``model.former-N``.
    """
    published = published_path(output_dir, result)
    with writing(published):
        aside = output_dir / f"{PARTIAL}{published.name}-{os.urandom(4).hex()}"
        try:
            link(os.path.relpath(result, output_dir), aside)
        except (OSError, NotImplementedError):
            shutil.copytree(result, aside)
            replace_directory(aside, published)
            return published
        if published.exists() and not published.is_symlink():
            set_aside(published, mark="former")
        aside.replace(published)
        sync_directory(output_dir)
    return published
