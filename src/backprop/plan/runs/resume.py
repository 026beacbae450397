"""Whether and from where a run goes on."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from backprop.plan.decision import Problem, Refused, warning
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.processes import SINGLE, Processes
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.runs.checkpoint import CheckpointManifest
from backprop.plan.runs.course import resume_command
from backprop.plan.runs.record import RunRecord
from backprop.plan.settings.verbs.runs import RunStatus
from backprop.plan.training.packages import TRAIN_PACKAGES, check_packages
from backprop.plan.training.rail import NO_CARD, Rail, missing_for_mlx, mlx_unavailable


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
    warnings: tuple[Problem, ...] = ()

    def extends(self, planned_steps: int) -> bool:
        """Whether the plan's schedule must be stretched to another end."""
        return self.num_steps != planned_steps


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
) -> ResumePlan | Refused:
    """Continue ``record`` from its last good checkpoint, up to ``steps`` in all when that is given.

    ``record.run_status`` is as seen, not as last written: a run whose process has died is failed. ``run_dir`` is
    where checkpoints were looked for. The fingerprints are those of the model and the data as they are now, hardware
    and software are those of this machine.
    """
    if record.run_status is RunStatus.RUNNING:
        return Refused((active(record),))
    if record.run_status is RunStatus.COMPLETED and steps is None:
        return Refused((_finished(record),))
    if checkpoint is None and record.run_status is RunStatus.COMPLETED:
        return Refused((_nothing_to_extend(record, run_dir),))
    from_step = checkpoint.step if checkpoint else 0
    num_steps = record.num_steps if steps is None else steps
    problems = (
        *_check_steps(record, from_step, steps),
        *_check_inputs(record, model=model_fingerprint, data=data_fingerprint),
        *_check_machine(record, hardware, software, processes),
    )
    if problems:
        return Refused(problems)
    return ResumePlan(
        run_id=record.run_id,
        from_step=from_step,
        num_steps=num_steps,
        sequences_seen=checkpoint.sequences_seen if checkpoint else 0,
        warnings=() if checkpoint else (_begins_again(record, run_dir),),
    )


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
        launcher = f"with torchrun --nproc-per-node {planned}" if planned > 1 else "without a launcher"
        yield Problem(
            "CONFIG_INVALID_SETTING",
            f"Run {record.run_id} was planned for {planned} processes, and there are {processes.count}.",
            where="WORLD_SIZE",
            hint=f"Resume it {launcher}.",
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
    needed = (*TRAIN_PACKAGES, *(("bitsandbytes",) if record.plan.precision.load_in_4bit.value else ()))
    yield from check_packages(software, needed)
