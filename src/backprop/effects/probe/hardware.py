"""Looking at the machine: processor, memory, disk and NVIDIA cards, without torch and without ever failing."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from pathlib import Path

from backprop.effects.processes.cpus import num_cpus
from backprop.plan.facts.hardware import NO_DRIVER, Gpu, HardwareFacts

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def observe_hardware(output_dir: str) -> HardwareFacts:
    """The machine as its driver and its kernel describe it; what cannot be read is None or empty, with a reason."""
    system = platform.system()
    gpus, absent, driver = _gpus(system)
    total, available = _memory()
    return HardwareFacts(
        system=system,
        machine=platform.machine(),
        num_cpus=num_cpus(),
        cpu_has_bf16=_cpu_has_bf16(system),
        ram_total_bytes=total,
        ram_available_bytes=available,
        disk_free_bytes=_disk_free(output_dir),
        gpus=gpus,
        gpus_absent=absent,
        driver_version=driver,
    )


def _gpus(system: str) -> tuple[tuple[Gpu, ...], str, str]:
    """The cards; what speaks to the driver takes longer to load than all else, so first: is there a driver?"""
    if system == "Linux":
        try:
            ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return (), NO_DRIVER, ""
    from backprop.effects.probe.nvidia import observe_gpus

    return observe_gpus()


def _memory() -> tuple[int | None, int | None]:
    total, available = _system_memory()
    limit, used = _cgroup_bytes("memory.max"), _cgroup_bytes("memory.current")
    if total is None or available is None or limit is None or used is None or limit >= total:
        return total, available
    # A container's limit ends the process long before the machine's memory is used up.
    return limit, max(0, min(available, limit - used))


def _system_memory() -> tuple[int | None, int | None]:
    """On Linux the two lines that psutil reads, too, but takes longer to load for than most commands take to run."""
    try:
        with _MEMINFO.open(encoding="ascii") as file:
            kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in file)}
        return 1024 * kib["MemTotal"], 1024 * kib["MemAvailable"]
    except (OSError, ValueError, IndexError, KeyError):
        return _psutil_memory()


def _psutil_memory() -> tuple[int | None, int | None]:
    import psutil

    try:
        memory = psutil.virtual_memory()
    except (OSError, psutil.Error, RuntimeError):
        return None, None
    return memory.total, memory.available


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
