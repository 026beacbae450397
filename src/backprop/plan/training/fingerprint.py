"""One short name for a plan: equal plans have equal fingerprints, in every process and on every machine."""

from __future__ import annotations

import hashlib

from backprop.plan.training.plan import TrainPlan
from backprop.plan.wire.converter import canonical_json, to_data

FINGERPRINT_CHARACTERS = 16


def fingerprint(plan: TrainPlan) -> str:
    """The first 64 bits, in hexadecimal, of SHA-256 over the plan's canonical JSON."""
    return hashlib.sha256(canonical_json(to_data(plan)).encode()).hexdigest()[:FINGERPRINT_CHARACTERS]
