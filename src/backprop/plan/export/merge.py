"""Which tensor of an export is copied from the base, and which is the base's with the adapter's update added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from backprop.plan.decision import Problem, Refused
from backprop.plan.export.sources import (
    ITEM_BYTES,
    MERGEABLE,
    AdapterFacts,
    BaseFacts,
    Part,
    TensorFacts,
    adapter_problem,
)

HEAD = "lm_head.weight"
_HEADS: Mapping[str, str] = {
    **dict.fromkeys(("embed_tokens.weight", "wte.weight", "word_embeddings.weight", ".embeddings.weight"), HEAD),
    "embed_in.weight": "embed_out.weight",
}
"""How the names of embeddings end, and the name of the head that can be one tensor with each."""
_NUM_NAMED = 3


@attrs.frozen
class LowRank:
    """W + scale · B·A; with DoRA each row is scaled to its magnitude besides, arXiv:2402.09353, equation 5.

    Written for W as (out, in): a (r, in), b (out, r), magnitude (out,).
    """

    a: TensorFacts
    b: TensorFacts
    scale: float
    magnitude: TensorFacts | None = None
    is_transposed: bool = False
    """The file holds W as (in, out): embeddings, and bases with ``fan_in_fan_out``."""


@attrs.frozen
class MergeEntry:
    """One tensor of the merged model."""

    name: str
    source: TensorFacts
    """The base's tensor, or the adapter's where it saved the whole module."""
    dtype: str
    """The base's type, in which it is written."""
    file: str
    """Name of the weight file of the base, and of the merged model, that it stands in."""
    update: LowRank | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The base's shape."""
        return self.source.shape

    @property
    def num_bytes(self) -> int:
        """Of the tensor as it is written."""
        return self.source.num_bytes if self.is_copy else self.source.size * ITEM_BYTES[self.dtype]

    @property
    def is_copy(self) -> bool:
        """The bytes are those of the source."""
        return self.update is None and self.dtype == self.source.dtype


@attrs.frozen
class MergePlan:
    """Every tensor of the merged model, in the order of the base's files."""

    base: BaseFacts
    adapter: AdapterFacts | None
    """None for a model that was trained as a whole: everything is copied."""
    entries: tuple[MergeEntry, ...]
    is_untied: bool = False
    """Head and embedding were one tensor in the base and differ now; ``tie_word_embeddings`` becomes false."""

    @property
    def is_tied(self) -> bool:
        """The merged model's head is its embedding."""
        return self.base.is_tied and not self.is_untied


def plan_merge(base: BaseFacts, adapter: AdapterFacts | None) -> MergePlan | Refused:
    """A plan in which every tensor of the adapter has found its tensor of the base, or all that does not fit.

    INPUT_ADAPTER_INVALID for an adapter that is inconsistent in itself, INPUT_ADAPTER_MISMATCH for one of another
    base, with both values; INPUT_MODEL_INVALID for a base whose weights are quantized.
    """
    if adapter is None:
        return MergePlan(base, None, tuple(_copy(tensor) for tensor in base.tensors))
    if "quantization_config" in base.config:
        message = f"{base.name} is quantized; an adapter is merged only into weights of 16 or more bits."
        hint = "Name the model that it was quantized from with --base."
        return Refused((Problem("INPUT_MODEL_INVALID", message, where="--base", hint=hint),))
    inconsistent = check_adapter(adapter)
    if inconsistent:
        return Refused(inconsistent)
    changes = _Changes(base, adapter)
    problems = (*changes.problems, *_check_files(base))
    if problems:
        return Refused(_first_few(problems))
    return MergePlan(base, adapter, tuple(changes.entries()), changes.is_untied)


def check_adapter(adapter: AdapterFacts) -> tuple[Problem, ...]:
    """INPUT_ADAPTER_INVALID for what is wrong with an adapter whatever its base: parts missing, other ranks, types."""
    found = [what for module, parts in _modules(adapter).items() for what in _inconsistencies(adapter, module, parts)]
    return _first_few([adapter_problem(adapter.directory, what) for what in found])


def _inconsistencies(adapter: AdapterFacts, module: str, parts: Mapping[Part, TensorFacts]) -> Iterator[str]:
    a, b = _factors(parts)
    if a is None or b is None or (Part.MAGNITUDE not in parts) is adapter.use_dora:
        has, dora = ", ".join(part.value for part in parts), "with" if adapter.use_dora else "without"
        yield f"has only {has} of {module}, {dora} DoRA"
        return
    rank = adapter.rank_of(module)
    if len(a.shape) != 2 or len(b.shape) != 2 or (a.shape[0], b.shape[1]) != (rank, rank):
        yield f"says rank {rank} for {module}, but A is {_shape(a.shape)} and B {_shape(b.shape)}"
    elif Part.MAGNITUDE in parts and parts[Part.MAGNITUDE].size != b.shape[0]:
        yield f"has {parts[Part.MAGNITUDE].size} magnitudes for the {b.shape[0]} rows of {module}"
    if not {part.dtype for part in parts.values()} <= MERGEABLE:
        yield f"has {module} as {a.dtype} and {b.dtype}"


def _factors(parts: Mapping[Part, TensorFacts]) -> tuple[TensorFacts | None, TensorFacts | None]:
    """A and B, of a linear layer or of an embedding."""
    if Part.EMBEDDING_A in parts or Part.EMBEDDING_B in parts:
        return parts.get(Part.EMBEDDING_A), parts.get(Part.EMBEDDING_B)
    return parts.get(Part.A), parts.get(Part.B)


def _first_few(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Some problems of each code; the last of them says how many more there are. A wrong base does not fit anywhere."""
    told: list[Problem] = []
    for code in dict.fromkeys(problem.code for problem in problems):
        same = [problem for problem in problems if problem.code == code]
        told += same[:_NUM_NAMED]
        if len(same) > _NUM_NAMED:
            message = f"{told[-1].message.removesuffix('.')}; and so on, {len(same) - _NUM_NAMED} more."
            told[-1] = attrs.evolve(told[-1], message=message)
    return tuple(told)


def _copy(tensor: TensorFacts) -> MergeEntry:
    return MergeEntry(tensor.name, tensor, tensor.dtype, _file_name(tensor))


def _file_name(tensor: TensorFacts) -> str:
    return tensor.file.replace("\\", "/").rsplit("/", 1)[-1]


def _check_files(base: BaseFacts) -> Iterator[Problem]:
    seen: dict[str, TensorFacts] = {}
    for tensor in base.tensors:
        first = seen.setdefault(tensor.name, tensor)
        if first is not tensor:
            message = f"{base.name} has {tensor.name} twice, in {_file_name(first)} and in {_file_name(tensor)}."
            yield Problem("INPUT_MODEL_INVALID", message, where="--base")


class _Changes:
    """What the adapter does to each tensor of the base, by the tensor's name, and what of it does not fit."""

    def __init__(self, base: BaseFacts, adapter: AdapterFacts) -> None:
        self._base, self._adapter = base, adapter
        self._stored = {tensor.name: tensor for tensor in base.tensors}
        self._embedding, self._head = _tied_pair(self._stored) if base.is_tied else (None, HEAD)
        self._updates: dict[str, LowRank] = {}
        self._wholes: dict[str, TensorFacts] = {}
        self._unknown: list[str] = []
        found = [problem for module, parts in _modules(adapter).items() for problem in self._module(module, parts)]
        found += [
            problem for t in adapter.tensors if t.part is Part.WHOLE for problem in self._whole(t.module, t.facts)
        ]
        self.problems = (*self._check_names(), *found)

    @property
    def is_untied(self) -> bool:
        """The embedding or the head was changed without the other, which was the same tensor."""
        changed = {name for name in (*self._updates, *self._wholes) if name in (self._head, self._embedding)}
        keeps = self._adapter.keeps_tie and self._embedding in changed
        return self._embedding is not None and bool(changed) and not keeps

    def entries(self) -> Iterator[MergeEntry]:
        """The merged model's tensors: the base's in their order, and an untied head after its embedding."""
        for tensor in self._base.tensors:
            if tensor.name != self._head or self._embedding is None:
                yield self._entry(tensor.name, tensor)
            elif not (self.is_untied or self._adapter.keeps_tie):
                yield _copy(tensor)
            if tensor.name == self._embedding and self.is_untied:
                yield self._entry(self._head, tensor)

    def _entry(self, name: str, stored: TensorFacts) -> MergeEntry:
        source = self._wholes.get(name, stored)
        return MergeEntry(name, source, stored.dtype, _file_name(stored), self._updates.get(name))

    def _target(self, name: str) -> tuple[str, TensorFacts] | None:
        """The name in the merged model and the base's tensor; a checkpoint of a bare model lacks ``model.``."""
        if name == self._head and self._embedding is not None:
            return name, self._stored[self._embedding]
        for candidate in (name, name.removeprefix("model."), f"model.{name}"):
            if candidate in self._stored:
                return candidate, self._stored[candidate]
        return None

    def _whole(self, name: str, whole: TensorFacts) -> Iterator[Problem]:
        target = self._target(name)
        if target is None:
            self._unknown.append(name)
            return
        found, stored = target
        if whole.shape != stored.shape:
            yield self._mismatch(f"{name} is {_shape(whole.shape)} in the adapter and {_shape(stored.shape)} in")
        elif whole.dtype not in MERGEABLE or stored.dtype not in MERGEABLE:
            yield self._invalid(f"has {name} as {whole.dtype}, where the base has {stored.dtype}")
        self._wholes[found] = whole

    def _module(self, module: str, parts: Mapping[Part, TensorFacts]) -> Iterator[Problem]:
        a, b = _factors(parts)
        assert a is not None, "check_adapter refused it"
        assert b is not None, "check_adapter refused it"
        target = self._target(f"{module}.weight")
        if target is None:
            self._unknown.append(module)
            return
        name, stored = target
        transposed = Part.EMBEDDING_A in parts or self._adapter.fan_in_fan_out
        yield from self._check_shapes(module, a, b, stored, transposed=transposed)
        self._updates[name] = LowRank(a, b, self._adapter.scale_of(module), parts.get(Part.MAGNITUDE), transposed)

    def _check_shapes(
        self, module: str, a: TensorFacts, b: TensorFacts, stored: TensorFacts, *, transposed: bool
    ) -> Iterator[Problem]:
        if len(stored.shape) != 2:
            yield self._invalid(f"changes {module}, which is no matrix in the base: {_shape(stored.shape)}")
            return
        changed = (b.shape[0], a.shape[1])
        has = stored.shape[::-1] if transposed else stored.shape
        if changed != has:
            yield self._mismatch(f"{module} is {_shape(changed)} to the adapter and {_shape(has)} in")
        if stored.dtype not in MERGEABLE:
            yield self._invalid(f"has {module} as {a.dtype} and {b.dtype}, where the base has {stored.dtype}")

    def _check_names(self) -> Iterator[Problem]:
        if self._unknown:
            named = ", ".join(self._unknown[:_NUM_NAMED])
            more = len(self._unknown) - _NUM_NAMED
            yield self._mismatch(f"it changes {named}{f' and {more} more' if more > 0 else ''}, not to be found in")

    def _mismatch(self, what: str) -> Problem:
        adapter, base = self._adapter, self._base
        of = f" of {adapter.base_name}" if adapter.base_name and adapter.base_name != base.name else ""
        message = f"The adapter in {adapter.directory}{of} does not fit {base.name}: {what} {base.directory}."
        return Problem("INPUT_ADAPTER_MISMATCH", message, where="--base")

    def _invalid(self, what: str) -> Problem:
        return adapter_problem(self._adapter.directory, what)


def _tied_pair(names: Iterable[str]) -> tuple[str | None, str]:
    """The embedding among the names of tensors, None when it is not known, and the name of its head."""
    found = ((name, head) for name in names for ending, head in _HEADS.items() if name.endswith(ending))
    return next(found, (None, HEAD))


def _modules(adapter: AdapterFacts) -> dict[str, dict[Part, TensorFacts]]:
    modules: dict[str, dict[Part, TensorFacts]] = {}
    for tensor in adapter.tensors:
        if tensor.part is not Part.WHOLE:
            modules.setdefault(tensor.module, {})[tensor.part] = tensor.facts
    return modules


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "a scalar"
