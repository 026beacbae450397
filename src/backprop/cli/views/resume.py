"""``backprop resume`` for a person: the same as a training run's end."""

from __future__ import annotations

from backprop.cli.views.train import show as show
