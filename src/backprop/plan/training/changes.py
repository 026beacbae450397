"""The smallest changes that would make a run fit its memory, each tried out before it is named."""

from __future__ import annotations

import bisect
import itertools
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
class _Variant:
    """The run under other settings, or of another model, and the flags that lead there."""

    flags: str
    settings: TrainSettings
    model: ModelFacts


@attrs.frozen
class _Attempt:
    """A run that does not fit, and everything needed to try another in its place."""

    place: Place
    sequences: Sequences
    may_cut_to: Callable[[int], bool]

    def result(self, variant: _Variant) -> MemoryPlan | None:
        """The memory of a variant, if it fits and may be run."""
        training = variant.settings.training
        place = attrs.evolve(self.place, model=variant.model)
        shortest = variant.settings.model.max_seq_length
        heldout = self.sequences.longest_heldout
        footprint = plan_footprint(
            variant.settings,
            place,
            update=plan_update(
                training,
                rail=place.rail,
                hardware=place.hardware,
                objective=self.sequences.objective,
                origins=Origins(),
            ),
            sequences=attrs.evolve(
                self.sequences,
                longest=min(self.sequences.longest, shortest),
                longest_heldout=None if heldout is None else min(heldout, shortest),
            ),
            origins=Origins(),
        )
        return footprint.fit.memory if isinstance(footprint, Footprint) and footprint.may_run else None

    def fits(self, variant: _Variant) -> bool:
        return self.result(variant) is not None


def smallest_changes(
    settings: TrainSettings,
    place: Place,
    *,
    sequences: Sequences,
    may_cut_to: Callable[[int], bool] = lambda _length: True,
) -> tuple[Change, ...]:
    """At most three changes, those first that change least of what is learned.

    ``may_cut_to`` says whether rows may be cut at a length. Where fewer single changes are enough, two together are
    tried: something that costs only time or precision, and one change more.
    """
    if sequences.longest > settings.model.max_seq_length:  # reasoning traces raise the default
        raised = attrs.evolve(settings.model, max_seq_length=sequences.longest)
        settings = attrs.evolve(settings, model=raised)
    attempt = _Attempt(place, sequences, may_cut_to)
    now = _Variant("", settings, place.model)
    found: dict[str, Change] = {}
    for variant in itertools.chain(_one_change(attempt, now), _two_changes(attempt, now)):
        memory = attempt.result(variant)
        if memory is not None and not any(_includes(variant.flags, flags) for flags in found):
            found[variant.flags] = Change(variant.flags, memory, variant.settings, variant.model)
        if len(found) == NUM_NAMED:
            break
    return tuple(found.values())


def _includes(flags: str, fewer: str) -> bool:
    """Whether ``fewer`` alone would do."""
    return set(f" {fewer}".split(" --")) <= set(f" {flags}".split(" --"))


def _one_change(attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    for way in _WAYS:
        yield from way(attempt, now)


def _two_changes(attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    for number, first in enumerate(_SWITCHES):
        for changed in first(attempt, now):
            for second in (*_SWITCHES[number + 1 :], *_SEARCHES):
                yield from second(attempt, changed)


def _with_training(now: _Variant, flags: str, **changes: object) -> _Variant:
    training = attrs.evolve(now.settings.training, **changes)  # type: ignore[arg-type]
    return _and(now, flags, attrs.evolve(now.settings, training=training))


def _with_lora(now: _Variant, flags: str, **changes: object) -> _Variant:
    lora = attrs.evolve(now.settings.lora, **changes)  # type: ignore[arg-type]
    return _and(now, flags, attrs.evolve(now.settings, lora=lora))


def _with_model(now: _Variant, flags: str, **changes: object) -> _Variant:
    model = attrs.evolve(now.settings.model, **changes)  # type: ignore[arg-type]
    return _and(now, flags, attrs.evolve(now.settings, model=model))


def _and(now: _Variant, flags: str, settings: TrainSettings) -> _Variant:
    return attrs.evolve(now, flags=f"{now.flags} {flags}".strip(), settings=settings)


# Switches: on or off, whether or not that is enough.


def _recomputing(_attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    if now.settings.lora.use_gradient_checkpointing is False:
        yield _with_lora(now, "--gradient-checkpointing", use_gradient_checkpointing=True)


def _smaller_optimizer(attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    is_small = now.settings.training.optim is Optimizer.PAGED_ADAMW_8BIT or now.settings.training.full_ft_offload
    if attempt.place.rail is Rail.CUDA and attempt.place.software.has("bitsandbytes") and not is_small:
        yield _with_training(now, "--optim paged_adamw_8bit", optim=Optimizer.PAGED_ADAMW_8BIT)


def _factored_optimizer(_attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    """Adafactor keeps a row and a column of each matrix instead of two copies; it needs no package."""
    training = now.settings.training
    has_small_state = training.optim in (Optimizer.ADAFACTOR, Optimizer.SGD) or training.full_ft_offload
    if not has_small_state and "--optim" not in now.flags:
        yield _with_training(now, "--optim adafactor", optim=Optimizer.ADAFACTOR)


def _four_bits(attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    is_whole = _trains_adapter(now) and (now.settings.model.load_in_4bit is False or now.settings.training.fp8)
    if is_whole and now.settings.training.fp8 and attempt.place.rail is Rail.CUDA:
        whole = _with_training(now, "--no-fp8", fp8=False)
        yield _with_model(whole, "--load-in-4bit", load_in_4bit=True)
    elif is_whole and attempt.place.rail is Rail.CUDA:
        yield _with_model(now, "--load-in-4bit", load_in_4bit=True)


def _an_adapter(_attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    if not _trains_adapter(now):
        yield _with_training(now, "--mode lora", mode=TrainMode.LORA, full_ft_offload=False)


def _offloaded(attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    """Every weight still trained, in host memory."""
    can = attempt.place.rail is Rail.CUDA and attempt.place.hardware.system != "Windows"
    if can and not _trains_adapter(now) and not now.settings.training.full_ft_offload:
        yield _with_training(now, "--full-ft-offload", full_ft_offload=True)


def _fast_preset(_attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    """The small preset's rank and layers; what was set by hand stays."""
    if _trains_adapter(now) and now.settings.lora.preset is not LoraPreset.FAST:
        yield _with_lora(now, "--lora-preset fast", preset=LoraPreset.FAST)


# Searches: the largest value that is enough.


def _fewer_at_once(attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    """The same update in more passes."""
    training = now.settings.training
    asked = training.per_device_train_batch_size
    if asked is None:
        return
    effective = asked * training.gradient_accumulation_steps

    def smaller(size: int) -> _Variant:
        passes = effective // size
        flags = f"--batch-size {size} --grad-accum {passes}"
        return _with_training(now, flags, per_device_train_batch_size=size, gradient_accumulation_steps=passes)

    yield from _largest(attempt, [size for size in range(1, asked) if effective % size == 0], smaller)


def _shorter(attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    lengths = range(SHORTEST_SEQUENCE, attempt.sequences.longest, SEQUENCE_STEP)

    def cut(length: int) -> _Variant:
        return _with_model(now, f"--max-seq-length {length}", max_seq_length=length)

    for variant in _largest(attempt, lengths, cut):
        if attempt.may_cut_to(variant.settings.model.max_seq_length):
            yield variant


def _lower_rank(attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    if not _trains_adapter(now):
        return
    lora = now.settings.lora
    rank = lora.r or PRESETS[lora.preset].rank
    ranks = [2**power for power in range(2, 11) if 2**power < rank]
    yield from _largest(attempt, ranks, lambda rank: _with_lora(now, f"--lora-r {rank}", r=rank))


def _smaller_model(attempt: _Attempt, now: _Variant) -> Iterator[_Variant]:
    """The largest model of the same series that fits."""
    series = _series(now.model.name)
    known = (
        facts_from_config(shape, name=name, source=ModelSource.TABLE)
        for name, shape in ARCHITECTURES.items()
        if _series(name) == series
    )
    smaller = [facts for facts in known if facts.num_parameters < now.model.num_parameters]
    for facts in sorted(smaller, key=lambda facts: facts.num_parameters, reverse=True):
        variant = attrs.evolve(_with_model(now, f"--model {facts.name}", name=facts.name), model=facts)
        if attempt.fits(variant):
            yield variant
            return


def _series(name: str) -> str:
    """The name without its size: models that differ in nothing else."""
    return re.sub(r"\d+(\.\d+)?[BM]\b", "", name.rstrip("/").rsplit("/", 1)[-1])


def _trains_adapter(now: _Variant) -> bool:
    return now.settings.training.mode is TrainMode.LORA


def _largest(attempt: _Attempt, ascending: Sequence[int], variant: Callable[[int], _Variant]) -> Iterator[_Variant]:
    """The variant of the last value that fits, where all before one that fits do too."""
    place = bisect.bisect_left(ascending, True, key=lambda value: not attempt.fits(variant(value)))
    if place:
        yield variant(ascending[place - 1])


Way = Callable[[_Attempt, _Variant], Iterator[_Variant]]
_SWITCHES: tuple[Way, ...] = (
    _recomputing,
    _smaller_optimizer,
    _factored_optimizer,
    _four_bits,
    _an_adapter,
    _offloaded,
    _fast_preset,
)
_SEARCHES: tuple[Way, ...] = (_fewer_at_once, _shorter, _lower_rank, _smaller_model)
_WAYS: tuple[Way, ...] = (
    _fewer_at_once,
    _recomputing,
    _smaller_optimizer,
    _factored_optimizer,
    _four_bits,
    _an_adapter,
    _offloaded,
    _shorter,
    _lower_rank,
    _fast_preset,
    _smaller_model,
)
"""From what changes least of what is learned to what changes most."""
