"""llama.cpp's own converter and quantizer, for families and types that are not written by ourselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.settings.verbs.export import Quantization

_CONVERTER = "convert_hf_to_gguf.py"
_QUANTIZER = "llama-quantize.exe" if os.name == "nt" else "llama-quantize"
_FOLDERS = ("build/bin", "build/bin/Release", "bin", ".")


@attrs.frozen
class LlamaCppTools:
    """What of llama.cpp is on this machine."""

    converter: Path | None
    quantizer: Path | None


def find_tools(root: str | None) -> LlamaCppTools:
    """The programs in BACKPROPAGATE_LLAMA_CPP_PATH, and the quantizer on PATH."""
    place = Path(root).expanduser() if root else None
    converter = place / _CONVERTER if place else None
    built = [place / folder / _QUANTIZER for folder in _FOLDERS] if place else []
    on_path = shutil.which(_QUANTIZER)
    quantizer = next((path for path in built if path.is_file()), Path(on_path) if on_path else None)
    return LlamaCppTools(converter if converter and converter.is_file() else None, quantizer)


def convert(tools: LlamaCppTools, model: Path, target: Path, quantization: Quantization) -> None:
    """Turn a model directory into a GGUF file. Raises RUNTIME_GGUF_EXPORT_FAILED with the converter's last line."""
    assert tools.converter is not None, "was looked for before any work"
    plain = target if quantization is Quantization.F16 else target.with_suffix(".f16")
    _run([sys.executable, str(tools.converter), str(model), "--outfile", str(plain), "--outtype", "f16"])
    shutil.rmtree(model)
    if plain != target:
        quantize_file(tools, plain, target, quantization)
        plain.unlink()


def quantize_file(tools: LlamaCppTools, source: Path, target: Path, quantization: Quantization) -> None:
    """Quantize a GGUF file with llama-quantize. Raises RUNTIME_GGUF_EXPORT_FAILED."""
    assert tools.quantizer is not None, "was looked for before any work"
    _run([str(tools.quantizer), str(source), str(target), quantization.value.upper()])


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise _failed(command, error.strerror or str(error)) from error
    if done.returncode != 0:
        lines = [line.strip() for line in (*done.stdout.splitlines(), *done.stderr.splitlines()) if line.strip()]
        raise _failed(command, lines[-1] if lines else f"it ended with {done.returncode}")


def _failed(command: Sequence[str], why: str) -> BackpropError:
    program = next((part for part in command if part.endswith((_CONVERTER, _QUANTIZER))), command[0])
    return BackpropError(Problem("RUNTIME_GGUF_EXPORT_FAILED", f"{program} failed: {why}", where="--format gguf"))
