"""The installed packages, against importlib.metadata, which is slower."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from backprop.effects.probe.software import PACKAGES, observe_software


def installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def test_versions_are_those_of_the_packages_metadata() -> None:
    facts = observe_software()
    assert facts.python == platform.python_version()
    assert dict(facts.packages) == {name: version for name in PACKAGES if (version := installed(name))}
    assert facts.has("torch")


def test_no_package_is_imported_to_be_told() -> None:
    asked = (
        "import json, sys; from backprop.effects.probe.software import observe_software\n"
        "found = observe_software(); loaded = [m for m in sys.modules if '.' not in m]\n"
        "print(json.dumps([found.version('torch'), loaded]))"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    version, loaded = json.loads(done.stdout)
    assert version == installed("torch")
    assert not {name.replace("-", "_") for name in PACKAGES} & set(loaded)


@pytest.mark.parametrize(
    ("entry", "name", "version"),
    [
        ("torch-2.9.1+cu128.dist-info", "torch", "2.9.1+cu128"),
        ("Huggingface_Hub-1.2.0.dist-info", "huggingface-hub", "1.2.0"),
        ("mlx.lm-0.3.dist-info", "mlx-lm", "0.3"),
        ("peft-0.18.0-py3.11.egg-info", "peft", "0.18.0"),
        ("trl-1.0.dev0.dist-info", "trl", "1.0.dev0"),
    ],
)
def test_a_metadata_directory_tells_name_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, name: str, version: str
) -> None:
    (tmp_path / entry).mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert observe_software().packages == ((name, version),)


def test_the_first_on_the_path_is_the_one_that_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, version in (("first", "2.0"), ("second", "1.0")):
        (tmp_path / place / f"torch-{version}.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "gone"), str(tmp_path / "first"), str(tmp_path / "second")])
    assert observe_software().version("torch") == "2.0"


def test_what_is_not_installed_has_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision-0.1.dist-info").mkdir()
    (tmp_path / "torch").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    facts = observe_software()
    assert facts.packages == ()
    assert facts.version("torch") is None
    assert not facts.has("torch")
