"""Laws are about values; how long a machine takes to check them is no law."""

from hypothesis import settings

settings.register_profile("laws", deadline=None)
settings.load_profile("laws")
