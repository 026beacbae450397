"""Which files of a Hub data set are read: those of one split of one configuration, told by its card or their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub

from backprop.effects.files.rows import KINDS, kind_of
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

CARD = "README.md"
_SHARD = re.compile(r"(?P<split>[\w.]+?)-\d{5}-of-(?P<total>\d{5})")
_SYNONYMS = {
    "training": "train",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "testing": "test",
}
_SPLITS = frozenset({"train", "validation", "test"})
_NOT_DATA = frozenset({"dataset_infos.json", "dataset_dict.json", "config.json", "dataset_info.json", "state.json"})
_AT_THE_TOP = "default"
_GLOB = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}

Splits = Mapping[str, list[str]]
"""Split to files."""


def files_of_split(
    files: Iterable[str], split: str, *, name: str, configuration: str = "", card: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """The data files among a repository's that belong to ``split``, in order.

    Files that name no split are ``train``. Raises INPUT_DATASET_NOT_FOUND naming the splits or configurations there
    are, and INPUT_VALIDATION_FAILED when several configurations have the split and none was chosen.
    """
    data = [file for file in sorted(files) if _is_data(file)]
    declared = dict(_declared(card or {}, data))
    found = declared or _by_directory(data)
    if configuration and configuration not in found:
        raise _not_found(f"The data set {name} has no configuration {configuration!r}: {_those(found)}.")
    chosen = {configuration: found[configuration]} if configuration else found
    holding = {config: picked for config, splits in chosen.items() if (picked := _of(splits, split))}
    if not holding:
        there = sorted({known for splits in chosen.values() for known in splits})
        raise _not_found(f"The data set {name} has no split {split!r}: {_those(there)}.")
    default = _default(card or {}, holding) if declared else None
    if len(holding) > 1 and default is None:
        message = f"The data set {name} has several configurations: {', '.join(sorted(holding))}."
        hint = f"Name one: --data {name}:{min(holding)}"
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, where="--data", hint=hint))
    return tuple(holding[default or next(iter(holding))])


def read_card(path: Path) -> Mapping[str, Any]:
    """The metadata at the head of a data set's card; empty when there is none that can be read."""
    import yaml  # type: ignore[import-untyped]

    try:
        return huggingface_hub.metadata_load(path) or {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def are_whole(files: Iterable[str]) -> bool:
    """Whether of files numbered ``-00000-of-00002`` none is missing."""
    shards = [(Path(file).parent, match) for file in files if (match := _SHARD.match(Path(file).name))]
    counts: dict[tuple[Path, str, int], int] = {}
    for directory, match in shards:
        series = (directory, match["split"], int(match["total"]))
        counts[series] = counts.get(series, 0) + 1
    return all(count == total for (_, _, total), count in counts.items())


def _is_data(file: str) -> bool:
    return kind_of(Path(file)) in KINDS and not Path(file).name.startswith(".") and file not in _NOT_DATA


def _of(splits: Splits, split: str) -> list[str]:
    return splits.get(split) or splits.get(_SYNONYMS.get(split, split)) or []


def _those(names: Iterable[str]) -> str:
    there = ", ".join(sorted(names))
    return f"it has {there}" if there else f"no file has a type that can be read ({', '.join(KINDS)})"


def _not_found(message: str) -> BackpropError:
    return BackpropError(Problem("INPUT_DATASET_NOT_FOUND", message, where="--data"))


def _declared(card: Mapping[str, Any], data: list[str]) -> Iterator[tuple[str, Splits]]:
    """The configurations that a card lists, with the files that their patterns find."""
    for config in _configs(card):
        top = str(config.get("data_dir") or "").strip("./")
        listed = config.get("data_files") or "**"
        splits: dict[str, list[str]] = {}
        for entry in listed if isinstance(listed, list) else [listed]:
            told = entry if isinstance(entry, Mapping) else {"path": entry}
            paths = told.get("path") or ()
            for file in _matching(data, top, paths if isinstance(paths, list) else [paths]):
                splits.setdefault(str(told.get("split") or _split_of(file)), []).append(file)
        if splits:
            yield str(config["config_name"]), splits


def _configs(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = card.get("configs")
    entries = listed if isinstance(listed, list) else []
    return [entry for entry in entries if isinstance(entry, Mapping) and entry.get("config_name")]


def _default(card: Mapping[str, Any], holding: Mapping[str, object]) -> str | None:
    marked = [str(config["config_name"]) for config in _configs(card) if config.get("default") is True]
    return next((config for config in (*marked, "default") if config in holding), None)


def _matching(data: list[str], top: str, patterns: Iterable[object]) -> list[str]:
    within = f"{top}/" if top else ""
    tokens = (re.split(r"(\*\*/|\*\*|\*|\?)", within + str(pattern).removeprefix("./")) for pattern in patterns)
    globs = [re.compile("".join(_GLOB.get(token, re.escape(token)) for token in parts)) for parts in tokens]
    return [file for file in data if any(glob.fullmatch(file) for glob in globs)]


def _by_directory(data: Iterable[str]) -> dict[str, Splits]:
    """Without a card the directories are the configurations, those that only name a split or ``data`` aside."""
    found: dict[str, dict[str, list[str]]] = {}
    for file in data:
        parts = [part for part in Path(file).parts[:-1] if part != "data" and _known(part) not in _SPLITS]
        splits = found.setdefault("/".join(parts) or _AT_THE_TOP, {})
        splits.setdefault(_split_of(file), []).append(file)
    return dict(found)


def _split_of(file: str) -> str:
    path = Path(file)
    shard = _SHARD.match(path.name)
    if shard:
        return shard["split"]
    words = [*re.split(r"[-_.]", path.name), *reversed(path.parts[:-1])]
    return next((split for word in words if (split := _known(word)) in _SPLITS), "train")


def _known(word: str) -> str:
    return _SYNONYMS.get(word.lower(), word.lower())
