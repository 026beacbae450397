"""``--format lora``: a clean PEFT directory, the adapter with its tokenizer, without optimizer and checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from backprop.effects.export.merged import files_of
from backprop.effects.export.staging import copy_files, staged
from backprop.effects.store.handover import ADAPTER_FILES
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.events import Event, Stage
from backprop.plan.export.plan import Check, Exported, ExportPlan
from backprop.plan.facts.model_files import TOKENIZER_FILES


def write_lora(plan: ExportPlan, out: Path, *, emit: Callable[[Event], None]) -> Exported:
    """Copy what belongs to the adapter to ``out``, byte for byte.

    Raises RUNTIME_LORA_EXPORT_FAILED when the copy differs, RUNTIME_DISK_FULL.
    """
    adapter = plan.adapter
    assert adapter is not None, "only an adapter is exported as one"
    with staged(plan, out) as directory:
        emit(Stage("copying"))
        copy_files((*ADAPTER_FILES, *TOKENIZER_FILES), adapter.directory, directory)
        checks = tuple(_check_equal(Path(adapter.directory, n), directory / n) for n in ADAPTER_FILES if plan.verify)
    return Exported(files_of(out), checks)


def _check_equal(source: Path, copy: Path) -> Check:
    digests = []
    for path in (source, copy):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if digests[0] != digests[1]:
        message = f"{copy.name} was not written as it stands in {source.parent}."
        raise BackpropError(Problem("RUNTIME_LORA_EXPORT_FAILED", message, where=str(copy)))
    return Check(source.name, f"SHA-256 {digests[0][:16]}… as in the source")
