"""Bringing descriptions, weights and data sets from the Hub, or finding them in its cache.

The client is imported as a whole and its functions taken at the call: it loads them only then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import huggingface_hub
from huggingface_hub import constants

from backprop.effects.files.atomic import write_atomic
from backprop.effects.probe.hub_errors import hub_errors
from backprop.effects.probe.hub_splits import CARD, are_whole, files_of_split, read_card
from backprop.effects.probe.weight_files import WeightsDamaged, read_weights
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.facts.model_files import LICENCE_FILES, TOKENIZER_FILES

DESCRIPTION = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    CARD,
)
_SAFETENSORS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
_TORCH = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?")


@attrs.frozen
class Description:
    """The small files of a model, and what the Hub says of its weights."""

    directory: Path
    commit: str
    was_cached: bool
    num_parameters: int | None = None
    weights_dtype: str | None = None


def cached_snapshot(name: str, *, kind: str = "model", commit: str | None = None) -> Path | None:
    """The snapshot of ``commit``, or of the main branch, that stands in the Hub cache; it may be partial."""
    repository = Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}"
    try:
        revision = commit or (repository / "refs" / "main").read_text().strip()
        snapshot = repository / "snapshots" / revision
        return snapshot if revision and snapshot.is_dir() else None
    except (OSError, ValueError):
        return None


def fetch_description(name: str) -> Description:
    """The model's configuration, tokenizer and template, from the cache when they stand there whole.

    Raises ``BackpropError``: INPUT_MODEL_NOT_FOUND, INPUT_AUTH_REQUIRED, HUB_UNREACHABLE, HUB_RESPONSE_UNKNOWN
    or what the disk refused.
    """
    cached = cached_snapshot(name)
    if cached is not None and all((cached / needed).is_file() for needed in ("config.json", "tokenizer.json")):
        return Description(cached, cached.name, was_cached=True)
    with hub_errors(f"the model {name}", not_found="INPUT_MODEL_NOT_FOUND", where="--model"):
        info = _info(name, "model", None)
        there = _files(info)
        if "config.json" not in there:
            message = f"{name} on the Hub is not a model that can be trained: it has no config.json."
            raise BackpropError(Problem("INPUT_MODEL_NOT_FOUND", message, where="--model"))
        directory = _download(name, "model", info.sha, [file for file in DESCRIPTION if file in there], is_main=True)
    stored = getattr(info, "safetensors", None)
    types = {_DTYPES[key]: count for key, count in (stored.parameters if stored else {}).items() if key in _DTYPES}
    return Description(
        directory,
        info.sha,
        was_cached=False,
        num_parameters=stored.total if stored else None,
        weights_dtype=max(types, key=types.__getitem__) if types else None,
    )


_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def fetch_weights(name: str, commit: str | None) -> Path:
    """A whole snapshot that transformers can load: description and weights, without other formats' copies.

    Raises as :func:`fetch_description`, and DEP_MODEL_LOAD_FAILED for a repository without weights.
    """
    cached = cached_snapshot(name, commit=commit)
    if cached is not None and (cached / "config.json").is_file() and _has_weights(cached):
        return cached
    with hub_errors(f"the model {name}", not_found="INPUT_MODEL_NOT_FOUND", where="--model"):
        info = _info(name, "model", commit)
        there = _files(info)
        weights = _matching(_SAFETENSORS, there) or _matching(_TORCH, there)
        if not weights:
            message = f"{name} on the Hub has no weights: neither model*.safetensors nor pytorch_model*.bin."
            raise BackpropError(Problem("DEP_MODEL_LOAD_FAILED", message, where="--model"))
        named = dict.fromkeys((*DESCRIPTION, *TOKENIZER_FILES, *LICENCE_FILES))
        wanted = [file for file in named if file in there]
        return _download(name, "model", info.sha, [*wanted, *weights], is_main=commit is None)


def fetch_dataset(name: str, split: str) -> tuple[Path, ...]:
    """The files of one split, in order; from the cache when the Hub cannot be reached.

    ``owner/name:configuration`` chooses among several. Raises as :func:`fetch_description` with
    INPUT_DATASET_NOT_FOUND; an unknown split or configuration names those there are.
    """
    repository, _, configuration = name.partition(":")
    try:
        with hub_errors(f"the data set {repository}", not_found="INPUT_DATASET_NOT_FOUND", where="--data"):
            info = _info(repository, "dataset", None)
            there = _files(info)
            card = _download(repository, "dataset", info.sha, [CARD]) / CARD if CARD in there else None
            picked = files_of_split(
                there, split, name=repository, configuration=configuration, card=read_card(card) if card else None
            )
            directory = _download(repository, "dataset", info.sha, list(picked), is_main=True)
    except BackpropError as error:
        if error.problems[0].code != "HUB_UNREACHABLE":
            raise
        directory, picked = _cached_split(repository, split, configuration, hub_error=error)
    return tuple(directory / file for file in picked)


def _cached_split(
    repository: str, split: str, configuration: str, *, hub_error: BackpropError
) -> tuple[Path, tuple[str, ...]]:
    """Raises ``hub_error`` for what the cache does not have whole."""
    cached = cached_snapshot(repository, kind="dataset")
    if cached is None:
        raise hub_error
    there = [path.relative_to(cached).as_posix() for path in cached.rglob("*") if path.is_file()]
    card = read_card(cached / CARD)
    try:
        picked = files_of_split(there, split, name=repository, configuration=configuration, card=card)
    except BackpropError as error:
        raise (hub_error if error.problems[0].code == "INPUT_DATASET_NOT_FOUND" else error) from None
    if not are_whole(picked):
        raise hub_error
    return cached, picked


def _info(name: str, kind: str, revision: str | None) -> Any:
    return huggingface_hub.HfApi().repo_info(
        name, repo_type=kind, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT
    )


def _files(info: Any) -> frozenset[str]:
    return frozenset(sibling.rfilename for sibling in info.siblings or ())


def _matching(pattern: re.Pattern[str], files: Iterable[str]) -> list[str]:
    return sorted(file for file in files if pattern.fullmatch(file))


def _download(name: str, kind: str, commit: str, files: list[str], *, is_main: bool = False) -> Path:
    for file in files:
        huggingface_hub.hf_hub_download(name, file, repo_type=kind, revision=commit)
    snapshot = cached_snapshot(name, kind=kind, commit=commit)
    assert snapshot is not None, "a downloaded file stands in its snapshot"
    if is_main:
        # Remembered only when every file is there, so that a cut download is never taken for a whole one.
        write_atomic(snapshot.parent.parent / "refs" / "main", commit)
    return snapshot


def _has_weights(directory: Path) -> bool:
    try:
        return read_weights(directory) is not None
    except (WeightsDamaged, OSError):
        return False
