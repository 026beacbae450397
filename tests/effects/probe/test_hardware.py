"""The machine, against what the kernel and psutil say of it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pynvml
import pytest

from backprop.effects.probe import hardware
from backprop.effects.probe.hardware import observe_hardware
from backprop.effects.probe.nvidia import observe_gpus, visible_devices

UUIDS = ("GPU-aa11", "GPU-aa22", "GPU-bb33")


def test_the_machine_is_the_one_that_python_runs_on(tmp_path: Path) -> None:
    facts = observe_hardware(str(tmp_path))
    assert (facts.system, facts.machine) == (platform.system(), platform.machine())
    assert 1 <= facts.num_cpus <= (psutil.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to a processor")
def test_only_processors_that_this_process_may_use_count() -> None:
    asked = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from backprop.effects.probe.hardware import observe_hardware; print(observe_hardware('.').num_cpus)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "1"


def test_memory_is_what_psutil_says_where_nothing_limits_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    facts = observe_hardware(str(tmp_path))
    memory = psutil.virtual_memory()
    assert facts.ram_total_bytes == memory.total
    assert facts.ram_available_bytes == pytest.approx(memory.available, rel=0.2)


def test_the_limit_of_a_container_is_the_memory_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("300000000\n")
    (tmp_path / "memory.current").write_text("290000000\n")
    facts = observe_hardware(str(tmp_path))
    assert (facts.ram_total_bytes, facts.ram_available_bytes) == (300_000_000, 10_000_000)


@pytest.mark.parametrize("limit", ["max\n", f"{2**62}\n", ""])
def test_a_container_without_limit_has_the_machines_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text("5\n")
    assert observe_hardware(str(tmp_path)).ram_total_bytes == psutil.virtual_memory().total


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the kernel has no /proc/cpuinfo")
def test_bf16_is_what_the_kernel_says_of_the_processor(tmp_path: Path) -> None:
    words = set(Path("/proc/cpuinfo").read_text().split())
    assert observe_hardware(str(tmp_path)).cpu_has_bf16 == bool({"avx512_bf16", "amx_bf16", "bf16"} & words)


def test_the_free_disk_of_a_directory_yet_to_be_made_is_that_of_the_nearest_that_exists(tmp_path: Path) -> None:
    found = observe_hardware(str(tmp_path / "runs" / "tomorrow")).disk_free_bytes
    assert found == pytest.approx(shutil.disk_usage(tmp_path).free, abs=1 << 26)


@pytest.mark.parametrize("output_dir", ["~nobody-here/x", "x" * 5000])
def test_the_free_disk_of_a_directory_that_cannot_be_is_unknown(output_dir: str) -> None:
    assert observe_hardware(output_dir).disk_free_bytes is None


def driver_is_installed() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    pynvml.nvmlShutdown()
    return True


@pytest.mark.skipif(driver_is_installed(), reason="this machine has an NVIDIA driver")
def test_without_a_driver_there_is_no_card_and_the_reason_is_told(tmp_path: Path) -> None:
    facts = observe_hardware(str(tmp_path))
    assert (facts.gpus, facts.gpu, facts.driver_version) == ((), None, "")
    assert facts.gpus_absent == "No NVIDIA driver is installed."


def test_a_driver_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def mismatched() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)

    monkeypatch.setattr(pynvml, "nvmlInit", mismatched)
    cards, why, _ = observe_gpus()
    assert cards == ()
    assert "does not answer" in why
    assert "mismatch" in why.lower()


@pytest.mark.gpu
@pytest.mark.skipif(not driver_is_installed(), reason="this machine has no NVIDIA driver")
def test_a_card_is_the_one_that_nvidia_smi_shows(tmp_path: Path) -> None:
    fields = "name,memory.total,compute_cap,driver_version"
    asked = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", "--id=0"]
    shown = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
    name, mebibytes, capability, driver = (word.strip() for word in shown.split(","))
    facts = observe_hardware(str(tmp_path))
    assert facts.gpu is not None
    assert (facts.gpu.name, facts.driver_version, facts.gpus_absent) == (name, driver, "")
    assert facts.gpu.compute_capability == tuple(int(part) for part in capability.split("."))
    assert facts.gpu.vram_total_bytes == pytest.approx(int(mebibytes) << 20, rel=0.01)
    assert 0 < facts.gpu.vram_free_bytes <= facts.gpu.vram_total_bytes


@pytest.mark.parametrize(
    ("allowed", "visible"),
    [
        (None, (0, 1, 2)),
        ("", ()),
        ("-1", ()),
        ("2,0", (2, 0)),
        (" 1 , 2 ", (1, 2)),
        ("0,7,1", (0,)),
        ("0,0", (0,)),
        ("GPU-bb", (2,)),
        ("GPU-aa", ()),
        ("GPU-aa22,0", (1, 0)),
        ("1,,2", (1,)),
        ("none", ()),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(allowed: str | None, visible: tuple[int, ...]) -> None:
    assert visible_devices(allowed, UUIDS) == visible
