"""Whether and from where a run goes on."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from backprop.plan.decision import Problem, Refused, errors_among, warning, warnings_among
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.processes import SINGLE, Processes
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.runs.checkpoint import CheckpointManifest
from backprop.plan.runs.course import resume_command
from backprop.plan.runs.extension import extend_plan
from backprop.plan.runs.record import RunRecord
from backprop.plan.runs.settings import origins_of, settings_of
from backprop.plan.settings.verbs.runs import RunStatus
from backprop.plan.training.checkpoints import check_disk
from backprop.plan.training.memory import budget_of
from backprop.plan.training.packages import check_packages, needed_packages
from backprop.plan.training.parallel import on_fullest_card
from backprop.plan.training.plan import TrainPlan
from backprop.plan.training.rail import NO_CARD, Rail, missing_for_mlx, mlx_unavailable
from backprop.plan.training.room import shortage


@attrs.frozen
class ResumePlan:
    """Where the run goes on. ``from_step`` equals ``num_steps`` when only the adapter is left to be written.

    It is 0 for a run that stopped before its first checkpoint: that run begins again, with the same plan.
    """

    run_id: str
    from_step: int
    """Finished optimizer steps in the checkpoint that is loaded."""
    num_steps: int
    """The last step of the whole run, counted from its beginning."""
    sequences_seen: int
    plan: TrainPlan
    """What is executed: the recorded plan, stretched where ``steps`` were given."""
    warnings: tuple[Problem, ...] = ()


def plan_resume(
    record: RunRecord,
    checkpoint: CheckpointManifest | None,
    *,
    run_dir: str,
    model_fingerprint: str,
    data_fingerprint: str,
    hardware: HardwareFacts,
    software: SoftwareFacts,
    processes: Processes = SINGLE,
    steps: int | None = None,
    num_checkpoints: int = 0,
) -> ResumePlan | Refused:
    """Continue ``record`` from its last good checkpoint, up to ``steps`` in all when that is given.

    ``record.run_status`` is as seen, not as last written: a run whose process has died is failed. ``run_dir`` is
    where checkpoints were looked for, ``num_checkpoints`` how many stand there. The fingerprints are those of the
    model and the data as they are now, hardware and software are those of this machine.
    """
    refused = _check_status(record, checkpoint, run_dir, steps)
    if refused is not None:
        return Refused((refused,))
    asked = settings_of(record)
    if isinstance(asked, Refused):
        return asked
    from_step = checkpoint.step if checkpoint else 0
    num_steps = record.num_steps if steps is None else steps
    plan = extend_plan(record.plan, asked.training, steps=num_steps, origins=origins_of(record))
    problems = (
        *_check_steps(record, from_step, steps),
        *_check_inputs(record, model=model_fingerprint, data=data_fingerprint),
        *_check_machine(record, hardware, software, processes),
        *_check_memory(plan, on_fullest_card(hardware, processes.count)),
        *_check_disk(plan, checkpoint, hardware, num_present=num_checkpoints),
    )
    if errors_among(problems):
        return Refused((*errors_among(problems), *warnings_among(problems)))
    begins_again = () if checkpoint else (_begins_again(record, run_dir),)
    return ResumePlan(
        run_id=record.run_id,
        from_step=from_step,
        num_steps=num_steps,
        sequences_seen=checkpoint.sequences_seen if checkpoint else 0,
        plan=plan,
        warnings=(*begins_again, *problems),
    )


def _check_status(
    record: RunRecord, checkpoint: CheckpointManifest | None, run_dir: str, steps: int | None
) -> Problem | None:
    """Whether there is anything to go on with."""
    if record.run_status is RunStatus.RUNNING:
        return active(record)
    if record.run_status is not RunStatus.COMPLETED:
        return None
    if steps is None:
        return _finished(record)
    return _nothing_to_extend(record, run_dir) if checkpoint is None else None


def active(record: RunRecord) -> Problem:
    """Two processes must not write one run."""
    worker = record.worker
    return Problem(
        "STATE_RUN_ACTIVE",
        f"Run {record.run_id} is being trained by process {worker.pid} on {worker.hostname}.",
        where=record.run_id,
        hint="Wait until it has ended, or stop that process; then resume.",
    )


def _finished(record: RunRecord) -> Problem:
    return Problem(
        "INPUT_RESUME_NOT_FOUND",
        f"Run {record.run_id} is complete: all of its {record.num_steps} steps are done.",
        where=record.run_id,
        hint=f"To train it further: `{resume_command(record.run_id, output_dir=record.plan.output_dir)}"
        f" --steps {record.num_steps * 2}`.",
    )


def _nothing_to_extend(record: RunRecord, run_dir: str) -> Problem:
    return Problem(
        "INPUT_RESUME_NOT_FOUND",
        f"Run {record.run_id} has no usable checkpoint to extend: looked for {run_dir}/checkpoint-N.",
        where=record.run_id,
        hint="Train again with the steps you want; --keep-checkpoints says how many remain.",
    )


def _begins_again(record: RunRecord, run_dir: str) -> Problem:
    return warning(
        "STATE_CHECKPOINT_INVALID",
        f"Run {record.run_id} has no usable checkpoint in {run_dir}: it begins again at step 0.",
        where=record.run_id,
        hint="A lower --save-steps makes the first checkpoint earlier.",
    )


def _check_steps(record: RunRecord, done: int, steps: int | None) -> Iterator[Problem]:
    if steps is not None and steps <= done:
        yield Problem(
            "CONFIG_INVALID_SETTING",
            f"--steps {steps} is not beyond the {done} steps that run {record.run_id} has done.",
            where="--steps",
            hint=f"--steps counts from the beginning of the run: give more than {done}.",
        )


def _check_inputs(record: RunRecord, *, model: str, data: str) -> Iterator[Problem]:
    for what, name, planned, now in (
        ("model", record.model, record.fingerprints.model, model),
        ("data", record.data, record.fingerprints.data, data),
    ):
        if planned != now:
            yield Problem(
                "STATE_INPUTS_CHANGED",
                f"The {what} {name} is no longer what run {record.run_id} was planned on.",
                where=name,
                hint=f"Restore the {what} as it was, or start a new run.",
            )


def _check_machine(
    record: RunRecord, hardware: HardwareFacts, software: SoftwareFacts, processes: Processes
) -> Iterator[Problem]:
    """A run goes on where it can be computed as it was planned."""
    planned = record.plan.batch.processes
    if processes.count != planned:
        command = resume_command(record.run_id, output_dir=record.plan.output_dir)
        launched = f"torchrun --nproc-per-node {planned} --no-python {command}" if planned > 1 else command
        yield Problem(
            "CONFIG_INVALID_SETTING",
            f"Run {record.run_id} was planned for {planned} processes, and there are {processes.count}.",
            where="WORLD_SIZE",
            hint=f"Resume it with `{launched}`{'' if planned > 1 else ', without a launcher'}.",
        )
    if record.plan.rail.value is Rail.MLX:
        if not hardware.is_apple_silicon:
            yield Problem(
                "CONFIG_INVALID_SETTING",
                f"Run {record.run_id} was planned for the MLX rail, which runs on Apple silicon alone.",
                where=record.run_id,
                hint="Resume it on the Mac, or start a new run here.",
            )
        elif missing := missing_for_mlx(software):
            yield mlx_unavailable(missing, record.run_id)
        return
    if record.plan.rail.value is Rail.CUDA and hardware.gpu is None:
        yield Problem(
            "DEP_GPU_NOT_AVAILABLE",
            f"Run {record.run_id} was planned for an NVIDIA card. {hardware.gpus_absent or NO_CARD}",
            where=record.run_id,
            hint="Resume it on a machine with a card, or start a new run here.",
        )
    plan = record.plan
    needed = needed_packages(load_in_4bit=plan.precision.load_in_4bit.value, optimizer=plan.optimizer.value)
    yield from check_packages(software, needed)


def _check_memory(plan: TrainPlan, hardware: HardwareFacts) -> Iterator[Problem]:
    """Refused where the run does not fit any more, as a new one would be; smaller passes may still help."""
    budget, memory = budget_of(plan.rail.value, hardware), plan.memory
    if budget is None or memory is None or budget.holds(memory):
        return
    if plan.batch.micro_batch.value > 1:
        hint = "When memory runs out, the run goes on with smaller passes and the same updates."
        yield warning("RUNTIME_MEMORY_INSUFFICIENT", shortage(memory, budget), hint=hint)
    else:
        hint = "End other programs that hold memory, resume it where there is more, or start a new run here."
        yield Problem("RUNTIME_MEMORY_INSUFFICIENT", shortage(memory, budget), hint=hint)


def _check_disk(
    plan: TrainPlan, checkpoint: CheckpointManifest | None, hardware: HardwareFacts, *, num_present: int
) -> tuple[Problem, ...]:
    """Room for the checkpoints to come; one that exists says how large they are."""
    left = plan.length.steps.value - (checkpoint.step if checkpoint else 0)
    checkpoints = plan.checkpoints
    if checkpoint is not None and checkpoint.files:
        checkpoints = attrs.evolve(checkpoints, num_bytes=sum(file.num_bytes for file in checkpoint.files))
    return check_disk(
        checkpoints,
        steps=left,
        num_evaluations=plan.evaluation.count(left) if plan.evaluation else 0,
        hardware=hardware,
        num_present=num_present,
    )
