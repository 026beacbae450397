from __future__ import annotations

import importlib
import subprocess
import sys
import typing

import backprop

NAMES = """
    Absent BackpropError CATALOGUE CheckpointManifest CheckpointSaved DataFacts DataSettings DatasetFacts
    Decision EstimateFacts EstimateReport EstimateVramSettings Event ExportReport Finding GenerateSettings
    GenerationPlan HardwareFacts
    LoraSettings MemoryPlan ModelFacts ModelSettings Origins
    Problem Progressed PromptFacts Refused ResumePlan ResumeSettings RunRecord Severity SoftwareFacts
    TargetFacts TokenizerFacts TrainFacts TrainPlan TrainReport TrainSettings Trainer TrainingSettings
    __version__ extend_plan fingerprint from_data observe plan_estimate plan_generation plan_resume plan_train to_data
    ValidationReport validate_dataset
    DataReport analyze_dataset SplitReport split_dataset
"""


def test_the_public_names_are_these() -> None:
    assert sorted(backprop.__all__) == sorted(NAMES.split())
    assert dir(backprop) == sorted(backprop.__all__)


def test_every_public_name_is_the_object_of_its_home_and_says_what_it_is() -> None:
    for name in NAMES.split():
        value = getattr(backprop, name)
        home = getattr(value, "__module__", None)
        if isinstance(home, str) and home.startswith("backprop."):
            assert getattr(importlib.import_module(home), name) is value
            assert value.__doc__
    assert typing.get_args(backprop.Event)


def test_importing_it_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import backprop; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.split(".")[0] not in sys.stdlib_module_names] == ["backprop"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(backprop, "Trianer")
