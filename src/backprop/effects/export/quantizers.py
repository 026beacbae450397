"""What turns rows of float32 into blocks of a GGUF type: ggml's own routine, or that of the gguf package in numpy.

Both make the same bytes of the types that both have.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from backprop.plan.export.gguf.ggml import GgmlType

Array = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Quantize = Callable[[Array, GgmlType], Bytes]
"""(rows, row length) float32, contiguous -> (rows, bytes of a row)."""
_LIBRARIES = ("libggml-base.so", "libggml-base.dylib", "ggml-base.dll", "libggml-base.dll", "libggml-base.so.0")


@attrs.frozen
class Quantizer:
    """A routine, and whose it is."""

    quantize: Quantize
    name: str
    has_k_quants: bool


def find_quantizer(llama_cpp: str | None) -> Quantizer:
    """The best routine on this machine; ``llama_cpp`` is BACKPROPAGATE_LLAMA_CPP_PATH.

    Looked for in the package libggml-python, in a build of llama.cpp and in the package xllamacpp; else gguf's own,
    which has no K-quants. The gguf package is imported when that is used.
    """
    for path in _candidates(llama_cpp):
        routine = _load(path)
        if routine is not None:
            return Quantizer(_with_ggml(routine), f"ggml ({path})", has_k_quants=True)
    return Quantizer(_with_numpy, "the gguf package", has_k_quants=False)


def _candidates(llama_cpp: str | None) -> Iterator[Path]:
    for folder in _package_folders("libggml"):
        yield from (folder / sub / name for sub in ("lib64", "lib", "bin", ".") for name in _LIBRARIES)
    if llama_cpp:
        root = Path(llama_cpp).expanduser()
        yield from (root / sub / name for sub in ("build/bin", "bin", "lib", ".") for name in _LIBRARIES)
    for folder in _package_folders("xllamacpp"):
        yield from sorted(folder.glob("xllamacpp*.so"))


def _package_folders(name: str) -> tuple[Path, ...]:
    spec = importlib.util.find_spec(name)
    return tuple(Path(place) for place in (spec.submodule_search_locations or ())) if spec else ()


def _load(path: Path) -> Callable[..., int] | None:
    """``ggml_quantize_chunk`` of a library; None when there is none."""
    if not path.is_file():
        return None
    try:
        library = ctypes.CDLL(os.fspath(path))
        routine = library.ggml_quantize_chunk
    except (OSError, AttributeError):
        return None
    # ggml.h: size_t (type, const float * src, void * dst, int64 start, int64 rows, int64 row length, imatrix)
    routine.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    routine.restype = ctypes.c_size_t
    found: Callable[..., int] = routine
    return found


def _with_ggml(routine: Callable[..., int]) -> Quantize:
    def quantize(values: Array, kind: GgmlType) -> Bytes:
        if not kind.is_quantized:
            return _plain(values, kind)
        rows, length = values.shape
        made: Bytes = np.empty((rows, kind.row_bytes(length)), np.uint8)
        # ctypes lets go of the interpreter meanwhile, so threads quantize side by side.
        size = routine(kind.number, values.ctypes.data, made.ctypes.data, 0, rows, length, None)
        assert size == made.nbytes, (kind, values.shape, size)
        return made

    return quantize


def _with_numpy(values: Array, kind: GgmlType) -> Bytes:
    if not kind.is_quantized:
        return _plain(values, kind)
    package: Any = importlib.import_module("gguf")
    made: Bytes = package.quants.quantize(values, package.GGMLQuantizationType(kind.number))
    return made


def _plain(values: Array, kind: GgmlType) -> Bytes:
    with np.errstate(over="ignore"):  # what is too large for f16 becomes infinite, and is looked for after
        return (values if kind is GgmlType.F32 else values.astype(np.float16)).view(np.uint8)
