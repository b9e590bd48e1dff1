"""MachineID=: the full id, or its first eight characters."""

from __future__ import annotations

from collections.abc import Collection

from argosy.model import Job
from argosy.placement.cluster import SHORT_ID, Cluster
from argosy.placement.filters.base import Depends, Filter
from argosy.placement.spot import Spot


def _candidates(cluster: Cluster, job: Job) -> Collection[str]:
    return cluster.with_id(job.requirements.machine_id)


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    wanted = job.requirements.machine_id
    return bool(wanted) and wanted not in (spot.id, spot.id[:SHORT_ID])


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    return f'agent ID "{spot.id}" does not match required "{job.requirements.machine_id}"'


FILTER = Filter("MachineID", _refuses, _reason, staying=True, depends=Depends.MACHINE, field="machine_id", candidates=_candidates)
