"""The machine: processor, memory, disk and cards."""

from __future__ import annotations

import attrs

NO_DRIVER = "No NVIDIA driver is installed."


@attrs.frozen
class Gpu:
    """One NVIDIA card as its driver describes it."""

    name: str
    vram_total_bytes: int
    vram_free_bytes: int
    compute_capability: tuple[int, int] | None

    @property
    def has_bf16(self) -> bool:
        """Native bfloat16 arithmetic begins with Ampere, compute capability 8.0."""
        return self.compute_capability is not None and self.compute_capability >= (8, 0)


@attrs.frozen
class HardwareFacts:
    """What the driver and the platform say, without torch."""

    system: str
    """``Linux``, ``Darwin`` or ``Windows``."""
    machine: str
    """``x86_64``, ``arm64``, …"""
    num_cpus: int
    """Processors that this process may use."""
    cpu_has_bf16: bool
    """The processor multiplies bfloat16 natively (AVX512-BF16, AMX or Arm BF16)."""
    ram_total_bytes: int | None
    ram_available_bytes: int | None
    disk_free_bytes: int | None
    """Free space where the output will be written."""
    gpus: tuple[Gpu, ...] = ()
    gpus_absent: str = ""
    """Why there is no card, when there is none."""
    driver_version: str = ""

    @property
    def is_apple_silicon(self) -> bool:
        """A Mac with an Apple chip."""
        return self.system == "Darwin" and self.machine == "arm64"

    @property
    def gpu(self) -> Gpu | None:
        """The primary card: the one that training uses."""
        return self.gpus[0] if self.gpus else None
