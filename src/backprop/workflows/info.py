"""``backprop info``: this machine, what is installed, what that allows, and how the program is set up to talk."""

from __future__ import annotations

import logging
import os
import platform
from pathlib import Path

import attrs

from backprop import __version__
from backprop.effects.configuration import observe_configuration
from backprop.effects.files.user_config import user_config_file
from backprop.effects.probe.hardware import observe_hardware
from backprop.effects.probe.software import observe_software
from backprop.plan.errors import CATALOGUE
from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelSource
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.redaction import redact_value
from backprop.plan.settings.commands import COMMANDS, Tier
from backprop.plan.settings.log import LogFormat, LogLevel
from backprop.plan.settings.verbs.info import InfoSettings
from backprop.plan.training.packages import GENERATE_PACKAGES, TRAIN_PACKAGES
from backprop.plan.training.rail import MLX_PACKAGES
from backprop.plan.wire.outcome import Outcome, ok
from backprop.workflows.request import Request

FEATURES: dict[str, tuple[str, ...]] = {
    "train": TRAIN_PACKAGES,
    "generate": GENERATE_PACKAGES,
    "qlora": ("torch", "bitsandbytes"),
    "parquet": ("pyarrow",),
    "zstd": ("zstandard",),
    "mlx": MLX_PACKAGES,
    "unsloth": ("unsloth",),
}


@attrs.frozen
class Feature:
    """Something that optional packages allow."""

    name: str
    available: bool
    missing: tuple[str, ...]


@attrs.frozen
class LoggingInfo:
    """How log records leave the program."""

    level: LogLevel
    format: LogFormat
    file: str | None
    has_handler: bool


@attrs.frozen
class TierInfo:
    """What a user may rely on for one command."""

    command: str
    tier: Tier
    prefer: str


@attrs.frozen
class ErrorInfo:
    """One entry of the error catalogue."""

    code: str
    exit_code: int
    retryable: bool
    meaning: str
    hint: str


@attrs.frozen
class KnownModel:
    """A model of the built-in table."""

    name: str
    num_parameters: int


@attrs.frozen
class InfoReport:
    """Everything; the tables that a flag asks for are None unless it was given."""

    version: str
    platform: str
    software: SoftwareFacts
    hardware: HardwareFacts
    features: tuple[Feature, ...]
    logging: LoggingInfo
    subcommand_tiers: tuple[TierInfo, ...] | None = None
    env_vars: tuple[tuple[str, str], ...] | None = None
    error_codes: tuple[ErrorInfo, ...] | None = None
    models: tuple[KnownModel, ...] | None = None


def run(request: Request[InfoSettings]) -> Outcome:
    """Observe and report; nothing is loaded or changed."""
    settings = request.settings
    seen = observe_configuration(environ=os.environ, directory=Path.cwd(), config=None, user_file=user_config_file())
    software = observe_software()
    report = InfoReport(
        version=__version__,
        platform=platform.platform(),
        software=software,
        hardware=observe_hardware("."),
        features=_features(software),
        logging=_logging(request),
        subcommand_tiers=_tiers() if settings.subcommand_tiers else None,
        env_vars=tuple((k, redact_value(k, v)) for k, v in seen.variables) if settings.env_vars else None,
        error_codes=_errors() if settings.error_codes else None,
        models=_models() if settings.models else None,
    )
    return ok("info", report, warnings=request.warnings)


def _features(software: SoftwareFacts) -> tuple[Feature, ...]:
    return tuple(
        Feature(name, available=not missing, missing=missing)
        for name, needs in FEATURES.items()
        for missing in [tuple(n for n in needs if not software.has(n))]
    )


def _logging(request: Request[InfoSettings]) -> LoggingInfo:
    log = request.log
    return LoggingInfo(log.level, log.format, log.file, bool(logging.getLogger().handlers))


def _tiers() -> tuple[TierInfo, ...]:
    return tuple(TierInfo(c.name, c.tier, c.prefer) for c in COMMANDS)


def _errors() -> tuple[ErrorInfo, ...]:
    return tuple(ErrorInfo(e.code, e.exit_code, e.retryable, e.meaning, e.hint) for e in CATALOGUE.values())


def _models() -> tuple[KnownModel, ...]:
    known = (
        facts_from_config(shape, name=name, source=ModelSource.TABLE) for name, shape in sorted(ARCHITECTURES.items())
    )
    return tuple(KnownModel(facts.name, facts.num_parameters) for facts in known)
