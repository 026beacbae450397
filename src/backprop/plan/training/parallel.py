"""Several processes, one card each: the update keeps its sequences, each process takes an equal share of them."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from backprop.plan.decision import Problem
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.processes import Processes
from backprop.plan.memory.objective import Objective
from backprop.plan.quantity import counted
from backprop.plan.settings.lora import AdapterInit
from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.rail import Rail


def check_processes(
    processes: Processes, settings: TrainSettings, *, rail: Rail, hardware: HardwareFacts, effective: int
) -> Iterator[Problem]:
    """Whether so many processes can train together, and an update be divided among them."""
    count = processes.count
    if count == 1:
        return
    if processes.local_count != count:
        yield _problem(
            f"{count} processes on several machines were started; a run takes the cards of one machine.",
            f"Start {processes.local_count} with --nproc-per-node, and --nnodes 1.",
        )
    if rail is Rail.MLX:
        yield _problem("The MLX rail is computed by one process.", "Start the command without the launcher.")
    if rail is Rail.CUDA and processes.local_count > len(hardware.gpus):
        yield _problem(
            f"{processes.local_count} processes were started, and there are {len(hardware.gpus)} cards.",
            f"Start at most {len(hardware.gpus)} with --nproc-per-node.",
        )
    if effective % count:
        yield _problem(
            f"An update of {counted(effective, 'sequence')} cannot be divided equally among {count} processes.",
            f"Choose --batch-size and --grad-accum so that their product is a multiple of {count}.",
        )
    for asked in _untried(settings, rail):
        yield _problem(
            f"{asked} has not been run with several processes yet.", "Start the command without the launcher."
        )


def _untried(settings: TrainSettings, rail: Rail) -> Iterator[str]:
    """What is done by one process alone, by the flags that ask for it."""
    training, is_full = settings.training, settings.training.mode is TrainMode.FULL
    if is_full and training.full_ft_offload and rail is Rail.CUDA:
        yield "--full-ft-offload on several cards"
    if training.method is not Objective.SFT:
        yield f"--method {training.method.value}"
    if not is_full and training.fp8:
        yield "--fp8"
    if not is_full and settings.lora.init_lora_weights is not AdapterInit.DEFAULT:
        yield f"--init-lora-weights {settings.lora.init_lora_weights.value}"


def on_fullest_card(hardware: HardwareFacts, count: int) -> HardwareFacts:
    """The machine with the card first that has least free memory of those used: what fits it fits all."""
    if count == 1 or len(hardware.gpus) < count:
        return hardware
    used, rest = hardware.gpus[:count], hardware.gpus[count:]
    return attrs.evolve(hardware, gpus=(*sorted(used, key=lambda gpu: gpu.vram_free_bytes), *rest))


def _problem(message: str, hint: str) -> Problem:
    return Problem("CONFIG_INVALID_SETTING", message, where="WORLD_SIZE", hint=hint)
