"""Commands that only look or plan start fast and load no torch; ``make bench`` prints the numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.startup import MEGABYTES, MODEL, extra_seconds, least, prepare

from tests.tiny import make_tiny_model

NOT_FOR_AN_ESTIMATE = ("numpy", "huggingface_hub", "tokenizers", "structlog", "rich")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("startup")


@pytest.mark.parametrize(
    "name", ["--version", "--help", "info --json", "runs", "config --show", "estimate-vram --json"]
)
def test_a_command_that_only_looks_costs_little(directory: Path, name: str) -> None:
    bare = least((), directory).cpu_seconds
    cost = least(prepare(directory)[name], directory)
    assert cost.heavy == ()
    # Twice the bound, since other tests run beside this one; the benchmark, alone, holds to the bound itself.
    assert cost.cpu_seconds <= bare + 2 * extra_seconds(name)
    assert cost.megabytes <= MEGABYTES


def test_a_dry_run_tokenizes_without_torch(directory: Path) -> None:
    model = make_tiny_model(directory / "model")
    arguments = prepare(directory)["train --dry-run, 1,000 rows"]
    arguments = tuple(str(model) if word == str(MODEL.absolute()) else word for word in arguments)
    assert least(arguments, directory, repeats=1).heavy == ()


@pytest.mark.parametrize("asked", [("--vram-gb", "24"), (), ("--mode", "full", "--full-ft-offload", "--json")])
def test_an_estimate_loads_neither_torch_nor_numpy(directory: Path, asked: tuple[str, ...]) -> None:
    cost = least(("estimate-vram", *asked), directory, repeats=1)
    assert cost.heavy == ()
    assert cost.megabytes <= MEGABYTES
    code = (
        "import sys; from backprop.cli.main import main; main(sys.argv[1:]); "
        f"print([name for name in {NOT_FOR_AN_ESTIMATE} if name in sys.modules], file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, "estimate-vram", *asked]
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
