"""``--format merged``: the base's directory with the adapter in its weights, in the base's type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backprop.effects.export.staging import copy_files, staged
from backprop.effects.export.verify import check_written_values, check_written_weights
from backprop.effects.export.weights import write_weights
from backprop.plan.events import Event, Stage, Written
from backprop.plan.export.plan import Exported, ExportedFile, ExportPlan
from backprop.plan.export.shards import INDEX, config_text, index_text, plan_shards
from backprop.plan.facts.model_files import TOKENIZER_FILES

_NUM_TOLD = 50
"""Events of an export's progress, at most about so many."""


def write_merged(plan: ExportPlan, out: Path, *, emit: Callable[[Event], None]) -> Exported:
    """Write the merged model to ``out``: weights in the base's files and types, float32 arithmetic, the rest unchanged.

    The tokenizer and the template are the adapter's when it brought its own. A tensor that the adapter leaves alone
    has the base's bytes. Memory: a few MiB a core beside an A and a B, whatever the model's size.
    Raises as :func:`backprop.effects.export.weights.write_weights`, and RUNTIME_DISK_FULL; then nothing is left.
    """
    merge = plan.merge
    assert merge is not None, "a merged export is planned from tensors"
    shards = plan_shards(merge.entries)
    with staged(plan, out) as directory:
        emit(Stage("merging" if merge.adapter else "copying"))
        write_weights(shards, directory, tell=throttled(emit))
        index = index_text(shards)
        if index is not None:
            (directory / INDEX).write_text(index, encoding="utf-8")
        others = (name for name in merge.base.other_files if name not in TOKENIZER_FILES)
        copy_files(others, merge.base.directory, directory)
        copy_files(TOKENIZER_FILES, tokenizer_directory(plan), directory)
        config = config_text(merge)
        if config is not None:
            (directory / "config.json").write_text(config, encoding="utf-8")
        checks = [check_written_weights(shards, directory)]
        if plan.verify:
            emit(Stage("verifying"))
            checks.append(check_written_values(shards, directory))
    return Exported(files_of(out), tuple(checks), untied=merge.is_untied)


def tokenizer_directory(plan: ExportPlan) -> str:
    """Where the tokenizer and the template of the training stand: beside the adapter, or with the base."""
    own = plan.adapter.directory if plan.adapter else None
    if own is not None and (Path(own) / "tokenizer.json").is_file():
        return own
    assert plan.merge is not None, "what has no base is an adapter as it is"
    return plan.merge.base.directory


def files_of(out: Path) -> tuple[ExportedFile, ...]:
    """The files directly in a directory, by name."""
    return tuple(ExportedFile(str(p), p.stat().st_size) for p in sorted(out.iterdir()) if p.is_file())


def throttled(emit: Callable[[Event], None]) -> Callable[[int, int], None]:
    """Tells of progress, (done, all), as often as is worth being told."""
    told = 0

    def tell(done: int, total: int) -> None:
        nonlocal told
        if done * _NUM_TOLD // max(1, total) > told or done == total:
            told = done * _NUM_TOLD // max(1, total)
            emit(Written(done, total))

    return tell
