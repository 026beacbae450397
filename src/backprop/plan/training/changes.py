"""The smallest changes that would make a run fit its memory, each tried out before it is named."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator, Sequence

import attrs

from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.settings.lora import LoraPreset
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Optimizer, TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.adapter import PRESETS
from backprop.plan.training.batch import plan_update
from backprop.plan.training.ceiling import check_ceiling
from backprop.plan.training.footprint import Footprint, Place, Sequences, plan_footprint
from backprop.plan.training.rail import Rail

NUM_NAMED = 3
SHORTEST_SEQUENCE = 128
SEQUENCE_STEP = 64


@attrs.frozen
class Change:
    """Flags that make the run fit, and what it takes then."""

    flags: str
    memory: MemoryPlan
    settings: TrainSettings
    model: ModelFacts


@attrs.frozen
class _Attempt:
    """A run that does not fit, and everything needed to try another in its place."""

    settings: TrainSettings
    place: Place
    sequences: Sequences
    may_cut_to: Callable[[int], bool]

    def result(self, settings: TrainSettings, model: ModelFacts | None = None) -> MemoryPlan | None:
        """The memory with other settings or another model, if it fits."""
        place = self.place if model is None else attrs.evolve(self.place, model=model)
        if check_ceiling(settings.training, place.model, place.hardware, origins=Origins()) is not None:
            return None
        longest = min(self.sequences.longest, settings.model.max_seq_length)
        footprint = plan_footprint(
            settings,
            place,
            update=plan_update(settings.training, rail=place.rail, hardware=place.hardware, origins=Origins()),
            sequences=attrs.evolve(self.sequences, longest=longest),
            origins=Origins(),
        )
        return footprint.fit.memory if isinstance(footprint, Footprint) and footprint.fit.fits else None


def smallest_changes(
    settings: TrainSettings,
    place: Place,
    *,
    sequences: Sequences,
    may_cut_to: Callable[[int], bool] = lambda _length: True,
) -> tuple[Change, ...]:
    """At most three changes, those first that change least of what is learned.

    ``may_cut_to`` says whether rows may be cut at a length. Where no single change is enough, two together are tried.
    """
    attempt = _Attempt(settings, place, sequences, may_cut_to)
    found = list(_single(attempt))
    if len(found) < NUM_NAMED:
        found += _together(attempt)
    return tuple(found[:NUM_NAMED])


def _single(attempt: _Attempt) -> Iterator[Change]:
    for ways in _WAYS:
        yield from ways(attempt)


def _together(attempt: _Attempt) -> Iterator[Change]:
    """The small preset, which leaves little but the model, with what else saves memory."""
    fast = _with_fast_preset(attempt.settings)
    if fast == attempt.settings or attempt.settings.training.mode is TrainMode.FULL:
        return
    again = attrs.evolve(attempt, settings=fast)
    for ways in _WAYS_OF_ANY_RANK:
        for change in ways(again):
            yield attrs.evolve(change, flags=f"--lora-preset fast {change.flags}")


def _if_it_fits(attempt: _Attempt, flags: str, settings: TrainSettings) -> Iterator[Change]:
    memory = attempt.result(settings)
    if memory is not None:
        yield Change(flags, memory, settings, attempt.place.model)


def _fewer_at_once(attempt: _Attempt) -> Iterator[Change]:
    """The same update in more passes."""
    training = attempt.settings.training
    asked = training.per_device_train_batch_size
    if asked is None:
        return
    effective = asked * training.gradient_accumulation_steps
    sizes = [size for size in range(1, asked) if effective % size == 0]

    def smaller(size: int) -> TrainSettings:
        changed = attrs.evolve(
            training, per_device_train_batch_size=size, gradient_accumulation_steps=effective // size
        )
        return attrs.evolve(attempt.settings, training=changed)

    size = _largest(sizes, lambda size: attempt.result(smaller(size)) is not None)
    if size is not None:
        yield from _if_it_fits(attempt, f"--batch-size {size} --grad-accum {effective // size}", smaller(size))


def _recomputing(attempt: _Attempt) -> Iterator[Change]:
    if attempt.settings.lora.use_gradient_checkpointing is False:
        lora = attrs.evolve(attempt.settings.lora, use_gradient_checkpointing=True)
        yield from _if_it_fits(attempt, "--gradient-checkpointing", attrs.evolve(attempt.settings, lora=lora))


def _smaller_optimizer(attempt: _Attempt) -> Iterator[Change]:
    if attempt.place.rail is Rail.CUDA and attempt.place.software.has("bitsandbytes"):
        training = attrs.evolve(attempt.settings.training, optim=Optimizer.PAGED_ADAMW_8BIT)
        if training != attempt.settings.training:
            yield from _if_it_fits(
                attempt, "--optim paged_adamw_8bit", attrs.evolve(attempt.settings, training=training)
            )


def _four_bits(attempt: _Attempt) -> Iterator[Change]:
    is_adapter = attempt.settings.training.mode is TrainMode.LORA
    if is_adapter and attempt.place.rail is Rail.CUDA and attempt.settings.model.load_in_4bit is False:
        model = attrs.evolve(attempt.settings.model, load_in_4bit=True)
        yield from _if_it_fits(attempt, "--load-in-4bit", attrs.evolve(attempt.settings, model=model))


def _offloaded(attempt: _Attempt) -> Iterator[Change]:
    """Every weight still trained, in host memory; the optimizer is one that steps there."""
    training = attempt.settings.training
    if training.mode is TrainMode.FULL and not training.full_ft_offload and attempt.place.rail is Rail.CUDA:
        if attempt.place.hardware.system == "Windows":
            return
        changed = attrs.evolve(training, full_ft_offload=True)
        yield from _if_it_fits(attempt, "--full-ft-offload", attrs.evolve(attempt.settings, training=changed))


def _an_adapter(attempt: _Attempt) -> Iterator[Change]:
    training = attempt.settings.training
    if training.mode is TrainMode.FULL:
        changed = attrs.evolve(training, mode=TrainMode.LORA, full_ft_offload=False)
        yield from _if_it_fits(attempt, "--mode lora", attrs.evolve(attempt.settings, training=changed))


def _shorter(attempt: _Attempt) -> Iterator[Change]:
    lengths = range(SHORTEST_SEQUENCE, attempt.sequences.longest, SEQUENCE_STEP)

    def cut(length: int) -> TrainSettings:
        return attrs.evolve(attempt.settings, model=attrs.evolve(attempt.settings.model, max_seq_length=length))

    length = _largest(lengths, lambda length: attempt.result(cut(length)) is not None)
    if length is not None and attempt.may_cut_to(length):
        yield from _if_it_fits(attempt, f"--max-seq-length {length}", cut(length))


def _lower_rank(attempt: _Attempt) -> Iterator[Change]:
    if attempt.settings.training.mode is TrainMode.FULL:
        return
    lora = attempt.settings.lora
    now = lora.r or PRESETS[lora.preset].rank
    ranks = [2**power for power in range(2, 11) if 2**power < now]

    def at(rank: int) -> TrainSettings:
        return attrs.evolve(attempt.settings, lora=attrs.evolve(lora, r=rank))

    rank = _largest(ranks, lambda rank: attempt.result(at(rank)) is not None)
    if rank is not None:
        yield from _if_it_fits(attempt, f"--lora-r {rank}", at(rank))


def _fewer_layers(attempt: _Attempt) -> Iterator[Change]:
    fast = _with_fast_preset(attempt.settings)
    if fast != attempt.settings and attempt.settings.training.mode is TrainMode.LORA:
        yield from _if_it_fits(attempt, "--lora-preset fast", fast)


def _with_fast_preset(settings: TrainSettings) -> TrainSettings:
    """The preset's rank and layers; what was set by hand stays."""
    return attrs.evolve(settings, lora=attrs.evolve(settings.lora, preset=LoraPreset.FAST))


def _smaller_model(attempt: _Attempt) -> Iterator[Change]:
    """The largest model of the same series that fits."""
    series = _series(attempt.place.model.name)
    known = (
        facts_from_config(shape, name=name, source=ModelSource.TABLE)
        for name, shape in ARCHITECTURES.items()
        if _series(name) == series
    )
    smaller = [facts for facts in known if facts.num_parameters < attempt.place.model.num_parameters]
    for facts in sorted(smaller, key=lambda facts: facts.num_parameters, reverse=True):
        memory = attempt.result(attempt.settings, facts)
        if memory is not None:
            settings = attrs.evolve(attempt.settings, model=attrs.evolve(attempt.settings.model, name=facts.name))
            yield Change(f"--model {facts.name}", memory, settings, facts)
            return


def _series(name: str) -> str:
    """The name without its size: models that differ in nothing else."""
    return re.sub(r"\d+(\.\d+)?[BM]\b", "", name.rstrip("/").rsplit("/", 1)[-1])


_WAYS_OF_ANY_RANK = (_fewer_at_once, _recomputing, _smaller_optimizer, _four_bits, _shorter)
_WAYS = (
    _fewer_at_once,
    _recomputing,
    _smaller_optimizer,
    _four_bits,
    _an_adapter,
    _offloaded,
    _shorter,
    _lower_rank,
    _fewer_layers,
    _smaller_model,
)
"""From what changes least of what is learned to what changes most."""


def _largest(ascending: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """The last value that fits, where all before one that fits do too."""
    place = bisect.bisect_left(ascending, True, key=lambda value: not fits(value))
    return ascending[place - 1] if place else None
