"""The whole plan of a training run: everything that will happen, each derived value with its rule and reason."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from backprop.plan.decision import Decision, Problem, Refused, errors_among, warnings_among
from backprop.plan.export.gguf.preflight import judge_gguf
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.dataset import DataFacts
from backprop.plan.facts.model import ModelFacts, TokenizerFacts
from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Optimizer, Tracker, TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.batch import BatchPlan
from backprop.plan.training.beforehand import check_always, check_undrafted, choose_tokenizer
from backprop.plan.training.cautions import cautions
from backprop.plan.training.checkpoints import CheckpointPlan
from backprop.plan.training.draft import Draft, check_draft, draft_run
from backprop.plan.training.evaluation import EvaluationPlan
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.footprint import Footprint, Place
from backprop.plan.training.full_precision import Rounding
from backprop.plan.training.learning_rate import LearningRatePlan
from backprop.plan.training.length import LengthPlan
from backprop.plan.training.memory import MemoryBudget
from backprop.plan.training.objective import SUPERVISED, ObjectivePlan
from backprop.plan.training.offload import OffloadPlan
from backprop.plan.training.parallel import on_fullest_card
from backprop.plan.training.precision import PrecisionPlan
from backprop.plan.training.rail import Rail, plan_rail
from backprop.plan.training.throughput import ThroughputPlan, plan_throughput
from backprop.plan.training.trackers import plan_trackers


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
    objective: ObjectivePlan = SUPERVISED
    """What is minimised."""
    trackers: tuple[Tracker, ...] = ()
    """Where the run's numbers go besides its own files."""
    unsloth: Decision[bool] | None = None
    """Whether Unsloth loads and patches the model; None where it is not installed, or there is no card."""
    gguf_export: Decision[bool] | None = attrs.field(default=None, eq=False)
    """Whether the result can be exported to GGUF; None in plans that did not ask."""

    @property
    def num_trainable(self) -> int:
        """Parameters that are updated."""
        return self.model.num_parameters if self.adapter is None else self.adapter.num_parameters


def plan_train(settings: TrainSettings, facts: TrainFacts, *, origins: Origins) -> TrainPlan | Refused:
    """Decide everything about a run, or say everything that stands against it."""
    facts = attrs.evolve(facts, hardware=on_fullest_card(facts.hardware, facts.processes.count))
    rail = plan_rail(settings.training.backend, facts.hardware, facts.software, origins=origins)
    always = check_always(settings, facts, None if isinstance(rail, Problem) else rail.value, origins=origins)
    model, data = facts.model, facts.data
    if isinstance(rail, Problem):
        return _refused((*always, rail, *check_undrafted(settings, facts, None, origins=origins)))
    if isinstance(model, Absent) or isinstance(data, Absent):
        return _refused((*always, *check_undrafted(settings, facts, rail.value, origins=origins)))
    place = Place(model, facts.hardware, facts.software, rail.value)
    draft = draft_run(settings, place, data, processes=facts.processes, origins=origins)
    problems = (
        *always,
        *check_draft(draft, settings, place, data, processes=facts.processes, origins=origins),
    )
    if errors_among(problems):
        return _refused(problems)
    plan = _accepted(draft, settings, place, rail=rail, data=data)
    tokenizer = choose_tokenizer(settings, facts)[0]
    thoughts = cautions(
        model=model,
        tokenizer=tokenizer,
        data=data.train,
        settings=settings.data,
        adapter=plan.adapter,
        length=plan.length,
        evaluation=plan.evaluation,
    )
    return attrs.evolve(
        plan,
        tokenizer=tokenizer,
        warnings=(*problems, *thoughts),
        gguf_export=judge_gguf(model, tokenizer),
    )


def _refused(problems: Iterable[Problem]) -> Refused:
    """What stops the run first, then the warnings; each once."""
    found = tuple(problems)
    return Refused(tuple(dict.fromkeys((*errors_among(found), *warnings_among(found)))))


def _accepted(
    draft: Draft, settings: TrainSettings, place: Place, *, rail: Decision[Rail], data: DataFacts
) -> TrainPlan:
    """The draft as a plan, still without its tokenizer and warnings."""
    footprint, asked = draft.footprint, settings.training
    assert isinstance(footprint, Footprint), "its problems would have refused the run"
    return TrainPlan(
        model=place.model,
        tokenizer=None,
        data=data,
        rail=rail,
        precision=footprint.precision,
        trust_remote_code=settings.model.trust_remote_code,
        adapter=footprint.adapter,
        attention=footprint.attention,
        batch=draft.batch,
        shuffle=settings.data.shuffle,
        length=draft.length,
        learning_rate=draft.learning_rate,
        optimizer=footprint.optimizer,
        weight_decay=asked.weight_decay,
        max_grad_norm=asked.max_grad_norm,
        gradient_checkpointing=footprint.fit.gradient_checkpointing,
        memory=footprint.fit.memory,
        budget=footprint.budget,
        throughput=_throughput(draft, footprint, place),
        evaluation=draft.evaluation,
        checkpoints=draft.checkpoints,
        logging_steps=asked.logging_steps,
        seed=asked.seed,
        output_dir=asked.output_dir,
        mode=asked.mode,
        rounding=draft.full.rounding,
        offload=draft.full.offload,
        objective=draft.objective,
        trackers=plan_trackers(asked.report_to, place.rail),
        unsloth=draft.unsloth,
    )


def _throughput(draft: Draft, footprint: Footprint, place: Place) -> ThroughputPlan:
    length = draft.length
    return plan_throughput(
        place.model,
        rail=place.rail,
        hardware=place.hardware,
        precision=footprint.precision,
        adapter=footprint.adapter,
        recomputes=footprint.fit.gradient_checkpointing.value,
        sequence=draft.sequences.longest,
        tokens_per_step=None if length.tokens is None else length.tokens / length.steps.value,
        objective=draft.sequences.objective,
        cards=draft.batch.processes,
    )
