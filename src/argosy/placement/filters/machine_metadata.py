"""MachineMetadata=: every key, with one of its values."""

from __future__ import annotations

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters.base import Depends, Filter
from argosy.placement.spot import Spot


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    return any(spot.metadata.get(key) not in values for key, values in job.requirements.metadata)


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    key, values = next((key, values) for key, values in job.requirements.metadata if spot.metadata.get(key) not in values)
    has = f"it has {key}={spot.metadata[key]}" if key in spot.metadata else f"it has no {key}"
    return f"local Machine metadata insufficient: {key}={' or '.join(values)} is required, {has}"


FILTER = Filter("MachineMetadata", _refuses, _reason, staying=True, depends=Depends.MACHINE, field="metadata")
