"""Affinities with !=: no workload that matches is on this machine. They are about what is new, as in classic Swarm."""

from __future__ import annotations

from collections.abc import Hashable

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters.base import Depends, Filter
from argosy.placement.spot import Spot
from argosy.requirements import Expression


def _refused(job: Job) -> tuple[Expression, ...]:
    return tuple([refused for refused in job.requirements.affinities if refused.negated])


def _question(cluster: Cluster, job: Job) -> Hashable | None:
    return _refused(job) or None


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    return any(spot.id in cluster.matched(refused) for refused in _refused(job))


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    broken = next(refused for refused in _refused(job) if spot.id in cluster.matched(refused))
    return f"affinity {broken} is not met: something that matches is placed here"


FILTER = Filter("AntiAffinities", _refuses, _reason, depends=Depends.OCCUPANTS, field="affinities", question=_question)
