"""MachineOf=: every workload named there is placed on this machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from argosy.model import Job
from argosy.placement.cluster import NOWHERE, SHORT_ID, Cluster
from argosy.placement.filters.base import Filter
from argosy.placement.spot import Spot


def _candidates(cluster: Cluster, job: Job) -> Collection[str]:
    return min((cluster.where.get(peer, NOWHERE) for peer in job.requirements.peers), key=len)


def _followers(cluster: Cluster, name: str) -> Iterable[str]:
    return cluster.followers.get(name, ())


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    return any(peer not in spot.units for peer in job.requirements.peers)


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    peer = next(peer for peer in job.requirements.peers if peer not in spot.units)
    places = cluster.where.get(peer, NOWHERE)
    if places:
        where = f"it is on {', '.join(place[:SHORT_ID] for place in places)}"
    else:
        where = "it is placed nowhere" if peer in cluster.jobs else "there is no such unit to be placed"
    return f"required peer Unit({peer}) is not scheduled locally ({where})"


FILTER = Filter("MachineOf", _refuses, _reason, staying=True, field="peers", candidates=_candidates, followers=_followers)
