"""Laws are about values; how long a machine takes to check them is no law.

``make test`` checks the same values every time, so that it tells of a change and not of luck. ``make laws`` looks for
a counterexample among others, and among ten times as many where a test names no number.
"""

import os

from hypothesis import HealthCheck, settings

_EVER = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("laws", _EVER, derandomize=True)
settings.register_profile("search", _EVER, max_examples=1_000, print_blob=True)
settings.load_profile(os.environ.get("LAWS_PROFILE", "laws"))
