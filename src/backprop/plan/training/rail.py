"""On what the run computes: the NVIDIA card, the Apple chip, or the processor."""

from __future__ import annotations

import enum

from backprop.plan.decision import Decision, Problem
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Backend
from backprop.plan.training.chosen import given

NO_CARD = "No NVIDIA card was found."
MLX_PACKAGES = ("mlx", "mlx-lm")
MLX_INSTALL = "pip install mlx-lm"


class Rail(enum.Enum):
    """The compute rail that a run takes."""

    CUDA = "cuda"
    MLX = "mlx"
    CPU = "cpu"


def plan_rail(
    asked: Backend, hardware: HardwareFacts, software: SoftwareFacts, *, origins: Origins
) -> Decision[Rail] | Problem:
    """CUDA where there is a card, MLX on an Apple chip with mlx-lm, else the CPU; a forced rail must be able to run."""
    gpu = hardware.gpu
    where = origin.name if (origin := origins.of("training.backend")) else "--backend"
    if asked is Backend.CUDA and gpu is None:
        return Problem(
            "CONFIG_INVALID_SETTING",
            f"--backend cuda cannot run here. {hardware.gpus_absent or NO_CARD}",
            where=where,
            hint="Use --backend auto, or --backend cpu.",
        )
    if asked is Backend.MLX:
        return _mlx_problem(hardware, software, where) or given(origins, "training.backend", Rail.MLX)
    if asked is Backend.CPU:
        return given(origins, "training.backend", Rail.CPU)
    if gpu is not None:
        return Decision(Rail.CUDA, "an NVIDIA card is present", f"{gpu.name} answers through its driver.")
    if hardware.is_apple_silicon and not missing_for_mlx(software):
        return Decision(Rail.MLX, "an Apple chip", "mlx-lm is installed, and computes on it.")
    if hardware.is_apple_silicon:
        return Decision(Rail.CPU, "mlx-lm is missing", f"The Apple chip is used with mlx-lm alone: {MLX_INSTALL}.")
    return Decision(Rail.CPU, "no NVIDIA card", hardware.gpus_absent or NO_CARD)


def missing_for_mlx(software: SoftwareFacts) -> tuple[str, ...]:
    """The packages that the MLX rail lacks."""
    return tuple(name for name in MLX_PACKAGES if not software.has(name))


def mlx_unavailable(missing: tuple[str, ...], where: str) -> Problem:
    """What the MLX rail lacks here."""
    return Problem(
        "DEP_MLX_UNAVAILABLE",
        f"The MLX rail needs {' and '.join(missing)}, which this Python does not have.",
        where=where,
        hint=f"{MLX_INSTALL}, or use --backend cpu.",
    )


def _mlx_problem(hardware: HardwareFacts, software: SoftwareFacts, where: str) -> Problem | None:
    if not hardware.is_apple_silicon:
        return Problem(
            "CONFIG_INVALID_SETTING",
            f"--backend mlx runs on Apple silicon alone; this is {hardware.system} on {hardware.machine}.",
            where=where,
            hint="Use --backend auto.",
        )
    missing = missing_for_mlx(software)
    return mlx_unavailable(missing, where) if missing else None
