"""Replaces=: a workload here pushes this one to another machine."""

from __future__ import annotations

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters.base import Filter
from argosy.placement.replacing import pusher_of
from argosy.placement.spot import Spot


def _question(cluster: Cluster, job: Job) -> str | None:
    """Return the name: a push is ignored that would come back to whom it pushes."""
    if not cluster.replacers:
        return None
    if job.requirements.replaces:
        return job.name
    for glob in cluster.globs.matching(job.name):
        if glob.replacing or glob.pushing:
            return job.name
    return None


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    return bool(pusher_of(cluster, job.name, spot.id))


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    return f"found replace with locally-scheduled Unit({pusher_of(cluster, job.name, spot.id)})"


FILTER = Filter("Replaces", _refuses, _reason, staying=True, followers=lambda cluster, name: (), question=_question)
