"""Affinities with ==: a workload that matches is on this machine. They are about what is new, as in classic Swarm."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters.base import Filter
from argosy.placement.spot import Spot
from argosy.requirements import Expression


def _wanted(job: Job) -> tuple[Expression, ...]:
    return tuple([wanted for wanted in job.requirements.affinities if not wanted.negated])


def _question(cluster: Cluster, job: Job) -> Hashable | None:
    return _wanted(job) or None


def _candidates(cluster: Cluster, job: Job) -> Collection[str]:
    return min((cluster.matched(wanted) for wanted in _wanted(job)), key=len)


def _followers(cluster: Cluster, name: str) -> Iterable[str]:
    if not cluster.affinities.patterns:
        return ()
    return [follower for glob in cluster.affinities.matching(name) for follower in glob.conflicting]


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    return any(spot.id not in cluster.matched(wanted) for wanted in _wanted(job))


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    missed = next(wanted for wanted in _wanted(job) if spot.id not in cluster.matched(wanted))
    return f"affinity {missed} is not met: nothing that matches is placed here"


FILTER = Filter("Affinities", _refuses, _reason, field="affinities", question=_question, candidates=_candidates, followers=_followers)
