"""The whole plan of a training run: everything that will happen, each derived value with its rule and reason."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision, Problem, Refused, errors_among, warning, warnings_among
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.dataset import DataFacts, DatasetFacts
from backprop.plan.facts.model import ModelFacts, ModelSource, TokenizerFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.objective import Objective
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Optimizer, Tracker, TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.adapter import AdapterPlan, plan_adapter
from backprop.plan.training.batch import BatchPlan, UpdatePlan, plan_packing, plan_update
from backprop.plan.training.ceiling import check_ceiling
from backprop.plan.training.checkpoints import CheckpointPlan, plan_checkpoints
from backprop.plan.training.evaluation import EvaluationPlan, check_evaluation, plan_evaluation
from backprop.plan.training.facts import TrainFacts, plan_sequence_length
from backprop.plan.training.fit import FitPlan
from backprop.plan.training.footprint import Footprint, Place, Sequences, plan_footprint
from backprop.plan.training.full import plan_full
from backprop.plan.training.full_precision import Rounding
from backprop.plan.training.learning_rate import LearningRatePlan, check_learning_rate, plan_learning_rate
from backprop.plan.training.length import LengthPlan, plan_length
from backprop.plan.training.memory import MemoryBudget
from backprop.plan.training.mlx import check_mlx
from backprop.plan.training.mode import check_mode
from backprop.plan.training.offload import OffloadPlan
from backprop.plan.training.optimizer import plan_optimizer
from backprop.plan.training.packages import TRAIN_PACKAGES, check_packages
from backprop.plan.training.parallel import check_processes, on_fullest_card
from backprop.plan.training.precision import PrecisionPlan
from backprop.plan.training.rail import Rail, plan_rail
from backprop.plan.training.room import check_room, refuse_too_large
from backprop.plan.training.targets import check_targets
from backprop.plan.training.throughput import ThroughputPlan, plan_throughput
from backprop.plan.training.trackers import check_trackers, plan_trackers
from backprop.plan.training.unsloth import plan_unsloth

_BROKEN_SHOWN = 3
"""Rows that cannot be used which a refusal names; the others are counted."""


@attrs.frozen
class TrainPlan:
    """What a training run does, to the last number. Frozen, hashable, and the same after a trip through JSON."""

    model: ModelFacts
    tokenizer: TokenizerFacts | None
    """None when only a dry run could do without."""
    data: DataFacts
    rail: Decision[Rail]
    precision: PrecisionPlan
    trust_remote_code: bool
    adapter: AdapterPlan | None
    """None in full fine-tuning, where every weight is trained."""
    attention: Decision[AttentionKernel]
    batch: BatchPlan
    shuffle: bool
    length: LengthPlan
    learning_rate: LearningRatePlan
    optimizer: Decision[Optimizer]
    weight_decay: float
    max_grad_norm: float
    gradient_checkpointing: Decision[bool]
    memory: MemoryPlan | None
    """Peak memory; None when it is not modelled for this model."""
    budget: MemoryBudget | None = attrs.field(eq=False)
    """The memory that the run was fitted to; None when nobody could say. What happened to be free makes no difference
    between plans that are otherwise the same."""
    throughput: ThroughputPlan
    evaluation: EvaluationPlan | None
    checkpoints: CheckpointPlan
    logging_steps: int
    seed: int
    """Of data order and dropout; the adapter has its own."""
    output_dir: str
    warnings: tuple[Problem, ...] = ()
    mode: TrainMode = TrainMode.LORA
    rounding: Decision[Rounding] | None = None
    """How updates are rounded into bfloat16 weights that are trained; None when those are float32, or an adapter's."""
    offload: OffloadPlan | None = None
    """Weights and optimizer states in host memory; None when they are where the arithmetic is done."""
    trackers: tuple[Tracker, ...] = ()
    """Where the run's numbers go besides its own files."""
    unsloth: Decision[bool] | None = None
    """Whether Unsloth loads and patches the model; None where it is not installed, or there is no card."""

    @property
    def num_trainable(self) -> int:
        """Parameters that are updated."""
        return self.model.num_parameters if self.adapter is None else self.adapter.num_parameters


def plan_train(settings: TrainSettings, facts: TrainFacts, *, origins: Origins) -> TrainPlan | Refused:
    """Decide everything about a run, or say everything that stands against it."""
    model, data, software = facts.model, facts.data, facts.software
    hardware = on_fullest_card(facts.hardware, facts.processes.count)
    rail = plan_rail(settings.training.backend, hardware, software, origins=origins)
    full = settings.training.mode is TrainMode.FULL
    absent = [fact.problem for fact in (model, data) if isinstance(fact, Absent)]
    tokenizer, tokenizer_problems = _tokenizer(settings, facts)
    missing = () if settings.dry_run else _missing(settings, rail, software, origins)
    if isinstance(model, Absent) or isinstance(data, Absent) or isinstance(rail, Problem):
        optimizer = (
            plan_optimizer(
                settings.training.optim,
                rail=rail.value,
                hardware=hardware,
                software=software,
                origins=origins,
                offloads=full and settings.training.full_ft_offload,
            )
            if isinstance(rail, Decision)
            else rail
        )
        adapter = () if isinstance(model, Absent) or full else (plan_adapter(settings.lora, model, origins=origins),)
        stopped = [p for p in (rail, optimizer, *adapter) if isinstance(p, Problem)]
        return Refused(tuple(dict.fromkeys((*absent, *errors_among(tokenizer_problems), *missing, *stopped))))

    place = Place(model, hardware, software, rail.value)
    whole_update = plan_update(
        settings.training, rail=rail.value, hardware=hardware, objective=Objective.SFT, origins=origins
    )
    update = whole_update.divided(facts.processes.count)
    shape = _sequences(settings, place, data=data, update=update, origins=origins)
    footprint = plan_footprint(settings, place, update=update, sequences=shape.for_memory(data), origins=origins)
    batch = shape.batch(update, footprint.fit if isinstance(footprint, Footprint) else None)
    length = plan_length(settings.training, data=data.train, batch=batch, origins=origins)
    steps = length.steps.value
    rate = plan_learning_rate(settings.training, steps=steps, origins=origins)
    evaluation = plan_evaluation(settings.training, heldout_rows=_rows(data), steps=steps, origins=origins)
    checkpoints = plan_checkpoints(settings.training, steps=steps, origins=origins)
    whole = plan_full(
        settings.training,
        model=model,
        rail=rail.value,
        hardware=hardware,
        precision=footprint.precision if isinstance(footprint, Footprint) else None,
        optimizer=footprint.optimizer.value if isinstance(footprint, Footprint) else None,
        checkpoints=checkpoints,
        steps=steps,
        num_evaluations=-(-steps // evaluation.every.value) if evaluation else 0,
    )
    problems = (
        *tokenizer_problems,
        *missing,
        *(() if isinstance(footprint, Footprint) else footprint),
        *_check_size(settings, place, footprint, sequences=shape.for_memory(data), data=data, origins=origins),
        *whole.problems,
        *check_mode(settings, origins=origins),
        *check_mlx(settings, model, rail.value, origins=origins),
        *check_processes(
            facts.processes,
            settings.training,
            rail=rail.value,
            hardware=hardware,
            effective=whole_update.effective,
        ),
        *_broken_rows(data),
        *(
            problem
            for part in (data.train, data.heldout)
            if part is not None
            for problem in check_targets(part, settings.data, sequence_length=batch.sequence_length.value)
        ),
        *check_learning_rate(rate, steps=steps, origins=origins),
        *check_evaluation(settings.training, evaluation),
    )
    if errors_among(problems):
        return Refused(tuple(dict.fromkeys((*errors_among(problems), *warnings_among(problems)))))
    assert isinstance(footprint, Footprint)
    return TrainPlan(
        model=model,
        tokenizer=tokenizer,
        data=data,
        rail=rail,
        precision=footprint.precision,
        trust_remote_code=settings.model.trust_remote_code,
        adapter=footprint.adapter,
        attention=footprint.attention,
        batch=batch,
        shuffle=settings.data.shuffle,
        length=length,
        learning_rate=rate,
        optimizer=footprint.optimizer,
        weight_decay=settings.training.weight_decay,
        max_grad_norm=settings.training.max_grad_norm,
        gradient_checkpointing=footprint.fit.gradient_checkpointing,
        memory=footprint.fit.memory,
        budget=footprint.budget,
        throughput=plan_throughput(
            model,
            rail=rail.value,
            hardware=hardware,
            precision=footprint.precision,
            adapter=footprint.adapter,
            recomputes=footprint.fit.gradient_checkpointing.value,
            sequence=shape.for_memory(data).longest,
            tokens_per_step=None if length.tokens is None else length.tokens / steps,
            cards=update.processes,
        ),
        evaluation=evaluation,
        checkpoints=checkpoints,
        logging_steps=settings.training.logging_steps,
        seed=settings.training.seed,
        output_dir=settings.training.output_dir,
        warnings=warnings_among(problems),
        mode=settings.training.mode,
        rounding=whole.rounding,
        offload=whole.offload,
        trackers=plan_trackers(settings.training.report_to, rail.value),
        unsloth=plan_unsloth(settings, rail.value, software, processes=facts.processes.count, origins=origins),
    )


def _missing(
    settings: TrainSettings, rail: Decision[Rail] | Problem, software: SoftwareFacts, origins: Origins
) -> tuple[Problem, ...]:
    """The packages that executing takes and that are not here."""
    if isinstance(rail, Problem):
        return check_packages(software, TRAIN_PACKAGES)
    needed = () if rail.value is Rail.MLX else check_packages(software, TRAIN_PACKAGES)
    return (*needed, *check_trackers(settings.training.report_to, rail.value, software, origins=origins))


def _check_size(
    settings: TrainSettings,
    place: Place,
    footprint: Footprint | tuple[Problem, ...],
    *,
    sequences: Sequences,
    data: DataFacts,
    origins: Origins,
) -> tuple[Problem, ...]:
    """One refusal for a model that is too large: by its parameters, or else by its memory."""
    known = footprint if isinstance(footprint, Footprint) else None
    if known is not None:
        too_large = known.too_large
    else:
        too_large = check_ceiling(settings.training, place.model, place.rail, place.hardware, origins=origins)
    if too_large is not None:
        return (refuse_too_large(too_large, settings, place, known, sequences=sequences, data=data),)
    return check_room(settings, place, known, sequences=sequences, data=data) if known else ()


@attrs.frozen
class _SequencePlan:
    """How rows become sequences."""

    length: Decision[int]
    packing: Decision[bool]
    packed_length: Decision[int] | None

    def for_memory(self, data: DataFacts) -> Sequences:
        """The longest sequence that there is, or that there may be where rows were not tokenized."""
        heldout = self._longest_row(data.heldout) if data.heldout else None
        if self.packed_length is not None:
            return Sequences(self.packed_length.value, is_packed=True, longest_heldout=heldout)
        return Sequences(self._longest_row(data.train), is_packed=False, longest_heldout=heldout)

    def _longest_row(self, data: DatasetFacts) -> int:
        lengths = data.tokens.length_counts if data.tokens else ()
        return max((length for length, _ in lengths), default=self.length.value)

    def batch(self, update: UpdatePlan, fit: FitPlan | None) -> BatchPlan:
        return BatchPlan(
            micro_batch=fit.micro_batch if fit else update.micro_batch,
            accumulation=fit.accumulation if fit else update.accumulation,
            effective=update.effective,
            packing=self.packing,
            sequence_length=self.length,
            packed_length=self.packed_length,
            processes=update.processes,
        )


def _sequences(
    settings: TrainSettings, place: Place, *, data: DataFacts, update: UpdatePlan, origins: Origins
) -> _SequencePlan:
    longest = plan_sequence_length(settings.model, place.model, origins=origins)
    packing, packed_length = plan_packing(
        settings.data.packing,
        rail=place.rail,
        data=data.train,
        sequence_length=longest.value,
        effective=update.effective,
        origins=origins,
    )
    return _SequencePlan(longest, packing, packed_length)


def _tokenizer(settings: TrainSettings, facts: TrainFacts) -> tuple[TokenizerFacts | None, tuple[Problem, ...]]:
    if not isinstance(facts.tokenizer, Absent):
        return facts.tokenizer, ()
    problem = facts.tokenizer.problem
    model = facts.model
    shape_only = not isinstance(model, Absent) and model.source is ModelSource.TABLE
    if settings.dry_run and shape_only:
        note = warning(
            problem.code,
            f"Without the tokenizer the rows are counted but not tokenized: {problem.message}",
            where=problem.where,
            hint=problem.hint,
        )
        return None, (note,)
    return None, (problem,)


def _rows(data: DataFacts) -> int | None:
    heldout = data.heldout
    if heldout is None:
        return None
    return heldout.tokens.sequences if heldout.tokens else heldout.rows


def _broken_rows(data: DataFacts) -> tuple[Problem, ...]:
    parts = [part for part in (data.train, data.heldout) if part is not None]
    shown = tuple(problem for part in parts for problem in part.broken)[:_BROKEN_SHOWN]
    more = sum(part.num_broken for part in parts) - len(shown)
    if not more:
        return shown
    message = f"And {more:,} more {'row' if more == 1 else 'rows'} that cannot be used."
    hint = "`backprop validate` lists them, each with its line, its key and what to do."
    return (*shown, Problem("INPUT_DATASET_INVALID", message, hint=hint))


def extend_plan(plan: TrainPlan, *, steps: int) -> TrainPlan:
    """The same plan over more steps: the schedule is stretched to the new end, everything else stays."""
    ratio = steps / plan.length.steps.value
    length = plan.length
    why = f"Extended from {length.steps.value}; the schedule now ends at the new last step."
    return attrs.evolve(
        plan,
        length=attrs.evolve(
            length,
            steps=Decision(steps, "set by --steps", why),
            epochs=length.epochs * ratio,
            tokens=None if length.tokens is None else round(length.tokens * ratio),
            supervised_tokens=None if length.supervised_tokens is None else round(length.supervised_tokens * ratio),
        ),
    )
