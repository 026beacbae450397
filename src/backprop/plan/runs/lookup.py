"""Which run a few letters mean."""

from __future__ import annotations

from collections.abc import Sequence

from backprop.plan.decision import Problem

_NUM_SHOWN = 10


def find_run(prefix: str, run_ids: Sequence[str], *, searched: str, unknown_code: str) -> str | Problem:
    """The only run id that begins with ``prefix``, or that is it; else a problem that names what there is.

    ``run_ids`` are newest first, ``searched`` is the output directory, and ``unknown_code`` what the caller's verb
    makes of a run that does not exist.
    """
    if prefix in run_ids:
        return prefix
    candidates = [run_id for run_id in run_ids if prefix and run_id.startswith(prefix)]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        shown = ", ".join(candidates[:_NUM_SHOWN]) + (", …" if len(candidates) > _NUM_SHOWN else "")
        return Problem("INPUT_RUN_AMBIGUOUS", f'{len(candidates)} runs begin with "{prefix}": {shown}.', where=searched)
    return Problem(
        unknown_code,
        f'There is no run "{prefix}" in {searched}'
        + (f"; the newest there is {run_ids[0]}." if run_ids else ", nor any other run."),
        where=searched,
        hint=f"List the runs with `backprop runs -o {searched}`, or name their directory with --output.",
    )
