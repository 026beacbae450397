"""Log records on stderr and in a file: in one form, at one level, without secrets."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from backprop.effects.executors import executor
from backprop.effects.log import TOLD, configure_logging
from backprop.plan.errors import BackpropError
from backprop.plan.settings.log import LogFormat, LogLevel, LogSettings
from backprop.plan.training.rail import Rail

OURS = logging.getLogger("backprop.somewhere")
SECRET = "hf_abcdefghijklmnop"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The log as it was afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("backprop")
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level, ours.level = handlers, level, logging.NOTSET
    TOLD.handlers = [logging.NullHandler()]
    logging.captureWarnings(False)


def fail() -> None:
    try:
        raise RuntimeError(f"token={SECRET}")
    except RuntimeError:
        OURS.exception("it broke with %s", SECRET)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("format", LogFormat)
def test_secrets_are_masked_in_records_and_traces(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, format: LogFormat, debug: bool
) -> None:
    configure_logging(LogSettings(debug=debug, format=format, file=str(tmp_path / "log")))
    fail()
    for text in (capsys.readouterr().err, (tmp_path / "log").read_text()):
        assert "it broke with [redacted]" in text
        assert SECRET not in text
        assert ("Traceback" in text) is debug


def test_json_is_one_object_a_line_with_time_level_and_logger(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(format=LogFormat.JSON, debug=True))
    fail()
    warnings.warn("old\nthing", UserWarning, stacklevel=1)
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first.keys() == {"time", "level", "logger", "message", "trace"}
    assert (first["level"], first["logger"]) == ("ERROR", "backprop.somewhere")
    assert second["logger"] == "py.warnings"


@pytest.mark.parametrize(
    ("level", "told"), [(LogLevel.DEBUG, 4), (LogLevel.INFO, 3), (LogLevel.WARNING, 2), (LogLevel.ERROR, 1)]
)
def test_our_records_are_told_from_the_level_on(capsys: pytest.CaptureFixture[str], level: LogLevel, told: int) -> None:
    configure_logging(LogSettings(level=level))
    for write in (OURS.debug, OURS.info, OURS.warning, OURS.error):
        write("x")
    assert len(capsys.readouterr().err.splitlines()) == told


def test_libraries_are_told_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(debug=True))
    logging.getLogger("library").info("chatter")
    assert capsys.readouterr().err == ""


def test_what_the_program_tells_itself_goes_to_the_file_only(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    configure_logging(LogSettings(file=str(tmp_path / "deep" / "log")))
    TOLD.warning("told")
    configure_logging(LogSettings())
    TOLD.warning("not told")
    assert capsys.readouterr().err == ""
    (line,) = (tmp_path / "deep" / "log").read_text().splitlines()
    assert line.endswith("told")


def test_a_second_start_appends(tmp_path: Path) -> None:
    for _ in range(2):
        configure_logging(LogSettings(file=str(tmp_path / "log")))
        OURS.warning("started \udcff")
    assert (tmp_path / "log").read_text().count("started \\udcff") == 2


def test_a_file_that_cannot_be_opened_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(BackpropError, match="INPUT_PATH_UNUSABLE"):
        configure_logging(LogSettings(file=str(tmp_path)))


@pytest.mark.parametrize("debug", [False, True])
def test_a_kernel_that_no_run_needs_is_missed_only_aloud(capsys: pytest.CaptureFixture[str], debug: bool) -> None:
    configure_logging(LogSettings(debug=debug))
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    executor(Rail.CPU, "train")
    logger.warning("Failed to load CPU gemm_4bit_forward")
    logger.error("The processor is on fire")
    logging.getLogger("bitsandbytes").warning("Something else")
    said = capsys.readouterr().err
    assert ("gemm_4bit_forward" in said) is debug
    assert "on fire" in said
    assert "Something else" in said


def test_programs_that_import_backprop_miss_that_kernel_silently_unless_they_say_otherwise() -> None:
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    for set_by_program, then in ((logging.NOTSET, logging.ERROR), (logging.DEBUG, logging.DEBUG)):
        logger.setLevel(set_by_program)
        executor(Rail.CPU, "train")
        assert logger.level == then


def test_what_torch_logs_takes_the_way_of_everything_else(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(format=LogFormat.JSON))
    executor(Rail.CPU, "train")
    logging.getLogger("torch.somewhere").warning("it is slow")
    told = json.loads(capsys.readouterr().err)
    assert (told["logger"], told["message"]) == ("torch.somewhere", "it is slow")
