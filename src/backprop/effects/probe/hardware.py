"""Looking at the machine: processor, memory, disk and NVIDIA cards, without torch and without ever failing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil
import pynvml

from backprop.plan.facts.hardware import Gpu, HardwareFacts

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_CGROUP = Path("/sys/fs/cgroup")


def observe_hardware(output_dir: str) -> HardwareFacts:
    """The machine as its driver and its kernel describe it; what cannot be read is None or empty, with a reason."""
    system = platform.system()
    gpus, absent, driver = observe_gpus()
    total, available = _memory()
    return HardwareFacts(
        system=system,
        machine=platform.machine(),
        num_cpus=_num_cpus(),
        cpu_has_bf16=_cpu_has_bf16(system),
        ram_total_bytes=total,
        ram_available_bytes=available,
        disk_free_bytes=_disk_free(output_dir),
        gpus=gpus,
        gpus_absent=absent,
        driver_version=driver,
    )


def observe_gpus() -> tuple[tuple[Gpu, ...], str, str]:
    """The cards that this process may use, in CUDA's order; why there are none; the driver's version."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return (), "No NVIDIA driver is installed.", ""
    except pynvml.NVMLError as error:
        return (), f"The NVIDIA driver does not answer: {error}.", ""
    try:
        return _cards()
    except pynvml.NVMLError as error:
        return (), f"The NVIDIA driver does not answer: {error}.", ""
    finally:
        pynvml.nvmlShutdown()


def _cards() -> tuple[tuple[Gpu, ...], str, str]:
    driver = str(pynvml.nvmlSystemGetDriverVersion())
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    if not handles:
        return (), "The NVIDIA driver sees no card.", driver
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    visible = visible_devices(allowed, uuids)
    if not visible:
        return (), f"CUDA_VISIBLE_DEVICES={allowed!r} hides every card.", driver
    return tuple(_card(handles[i]) for i in visible), "", driver


def visible_devices(allowed: str | None, uuids: Sequence[str]) -> tuple[int, ...]:
    """Positions of the cards that CUDA_VISIBLE_DEVICES leaves, in its order.

    As CUDA reads it: entries are positions or unambiguous UUID prefixes, and the first bad one ends the list.
    """
    if allowed is None:
        return tuple(range(len(uuids)))
    chosen: list[int] = []
    for entry in (part.strip() for part in allowed.split(",")):
        if re.fullmatch(r"\d+", entry):
            matches = [int(entry)] if int(entry) < len(uuids) else []
        else:
            matches = [i for i, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
        if len(matches) != 1 or matches[0] in chosen:
            break
        chosen.append(matches[0])
    return tuple(chosen)


def _card(handle: object) -> Gpu:
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        total, free = int(memory.total), int(memory.free)
    except pynvml.NVMLError_NotSupported:
        # Cards that share the processor's memory have none of their own to report.
        shared = psutil.virtual_memory()
        total, free = shared.total, shared.available
    try:
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        capability = (int(major), int(minor))
    except pynvml.NVMLError:
        capability = None
    return Gpu(
        name=str(pynvml.nvmlDeviceGetName(handle)),
        vram_total_bytes=total,
        vram_free_bytes=free,
        compute_capability=capability,
    )


def _num_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> tuple[int | None, int | None]:
    try:
        memory = psutil.virtual_memory()
    except (OSError, psutil.Error, RuntimeError):
        return None, None
    limit, used = _cgroup_bytes("memory.max"), _cgroup_bytes("memory.current")
    if limit is None or used is None or limit >= memory.total:
        return memory.total, memory.available
    # A container's limit ends the process long before the machine's memory is used up.
    return limit, max(0, min(memory.available, limit - used))


def _cgroup_bytes(name: str) -> int | None:
    try:
        return int((_CGROUP / name).read_text())
    except (OSError, ValueError):
        return None


def _cpu_has_bf16(system: str) -> bool:
    try:
        if system == "Darwin":
            asked = ["/usr/sbin/sysctl", "-n", "hw.optional.arm.FEAT_BF16"]
            return subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False).stdout.strip() == "1"
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            # Every core has the same flags; the file has a paragraph a core.
            line = next((line for line in file if line.startswith(("flags", "Features"))), "")
        return not _BF16_FLAGS.isdisjoint(line.split())
    except (OSError, subprocess.SubprocessError):
        return False


def _disk_free(output_dir: str) -> int | None:
    try:
        directory = Path(output_dir).expanduser().absolute()
        nearest = next(place for place in (directory, *directory.parents) if place.exists())
        return shutil.disk_usage(nearest).free
    except (OSError, RuntimeError, ValueError, StopIteration):
        return None
