"""Whether a launcher has started several processes of this command: what its variables say, without torch."""

from __future__ import annotations

from collections.abc import Mapping

from backprop.plan.facts.processes import Processes


def observe_processes(environ: Mapping[str, str]) -> Processes:
    """What WORLD_SIZE, RANK, LOCAL_RANK and LOCAL_WORLD_SIZE say; a single process where they are not all numbers."""
    try:
        count, rank = int(environ["WORLD_SIZE"]), int(environ["RANK"])
        local_rank = int(environ.get("LOCAL_RANK", rank))
        local_count = int(environ.get("LOCAL_WORLD_SIZE", count))
    except (KeyError, ValueError):
        return Processes()
    if not 0 <= rank < count or not 0 <= local_rank < local_count <= count:
        return Processes()
    return Processes(count, rank, local_rank, local_count)
