"""Memory: what all workloads on a machine reserve is no more than it has. Workloads that reserve none always fit."""

from __future__ import annotations

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters.base import Depends, Filter
from argosy.placement.spot import Spot


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    wanted = job.requirements.memory
    return wanted > 0 and spot.memory_reserved + wanted > spot.memory


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    free = max(0, spot.memory - spot.memory_reserved)
    return f"{_size(job.requirements.memory)} of memory are required, {_size(free)} of {_size(spot.memory)} are not reserved"


def _size(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


FILTER = Filter("Memory", _refuses, _reason, depends=Depends.OCCUPANTS, field="memory")
