"""What may refuse a machine to a workload: one file each, in the order in which they are asked.

A further filter is a file here with its `FILTER`, a line in the table, and a test. Where fleet had words for a reason, they are fleet's.
"""

from __future__ import annotations

from argosy.placement.filters import (
    affinities,
    anti_affinities,
    conflicts,
    constraints,
    cpus,
    datasets,
    machine_id,
    machine_metadata,
    machine_of,
    memory,
    only_one,
    ports,
    ready,
    replaces,
)
from argosy.placement.filters.base import Filter

FILTERS: tuple[Filter, ...] = (
    ready.FILTER,
    machine_id.FILTER,
    machine_metadata.FILTER,
    constraints.FILTER,
    machine_of.FILTER,
    affinities.FILTER,
    anti_affinities.FILTER,
    datasets.FILTER,
    conflicts.FILTER,
    only_one.FILTER,
    replaces.FILTER,
    ports.FILTER,
    memory.FILTER,
    cpus.FILTER,
)
