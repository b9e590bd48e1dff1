"""Conflicts=, both ways: no workload here that this one refuses, or that refuses this one."""

from __future__ import annotations

from collections.abc import Hashable

from argosy.model import Job
from argosy.placement.cluster import NOWHERE, Cluster
from argosy.placement.filters.base import Depends, Filter
from argosy.placement.spot import Spot
from argosy.unit.globs import conflict


def _question(cluster: Cluster, job: Job) -> Hashable | None:
    """Return its own globs, and those of others that match its name."""
    if not cluster.globs.patterns:
        return None
    touching = tuple([glob.pattern for glob in cluster.globs.matching(job.name) if glob.conflicting or glob.held])
    return (job.requirements.conflicts, touching) if touching or job.requirements.conflicts else None


def _refuses(cluster: Cluster, job: Job, spot: Spot) -> bool:
    """A look into the indexes, however many workloads there are."""
    if not cluster.globs.patterns:
        return False
    machine, name = spot.id, job.name
    touching = cluster.globs.matching(name)
    for pattern in job.requirements.conflicts:
        glob = cluster.globs.get(pattern)
        if glob is not None and glob.matched.get(machine, 0) > (name in spot.units and glob in touching):
            return True
    for glob in touching:
        holders = glob.held.get(machine)
        if holders and (len(holders) > 1 or name not in holders):
            return True
    return False


def _reason(cluster: Cluster, job: Job, spot: Spot) -> str:
    mine = job.requirements.conflicts
    for name in sorted(spot.units):
        other = cluster.job_on(name, spot.id)
        if conflict(job.name, mine, name, other.requirements.conflicts if other is not None else NOWHERE):
            return f"found conflict with locally-scheduled Unit({name})"
    raise AssertionError(f"the index of {spot.id} holds a conflict with {job.name} that its units do not")


FILTER = Filter("Conflicts", _refuses, _reason, staying=True, depends=Depends.OCCUPANTS, question=_question)
