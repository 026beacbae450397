"""Looking at NVIDIA cards through their driver's own library, without torch."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import psutil
import pynvml

from backprop.plan.facts.hardware import NO_DRIVER, Gpu


def observe_gpus() -> tuple[tuple[Gpu, ...], str, str]:
    """The cards that this process may use, in CUDA's order; why there are none; the driver's version."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return (), NO_DRIVER, ""
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
    if not pynvml.nvmlDeviceGetCount():
        return (), "The NVIDIA driver sees no card.", driver
    visible = visible_handles()
    if not visible:
        return (), f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')!r} hides every card.", driver
    return tuple(map(_card, visible)), "", driver


def visible_handles() -> list[object]:
    """The driver library's handles of the cards that this process may use, in CUDA's order. Raises its errors."""
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    return [handles[i] for i in visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)]


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
