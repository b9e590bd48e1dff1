"""Replaces=: who pushes whom from a machine, and when that is ignored.

fleet ignores two units that replace each other, since they would push each other about for ever. The same holds for any longer circle,
and for one that runs over followers: a unit that moves takes those with MachineOf= along. So a unit pushes another only if the push
cannot come back to it.
"""

from __future__ import annotations

from argosy.placement.cluster import Cluster
from argosy.requirements import NOTHING
from argosy.unit.globs import matches


def pusher_of(cluster: Cluster, name: str, machine: str) -> str:
    """The unit on the machine that pushes this one away (the first by name), "" if none does."""
    names: set[str] = set()
    for glob in cluster.globs.matching(name):
        names |= glob.pushing.get(machine, set())
    names.discard(name)
    return next((pusher for pusher in sorted(names) if not comes_back(cluster, name, pusher)), "")


def pushed_by(cluster: Cluster, name: str, machine: str) -> list[str]:
    """The units on the machine that this one pushes away, by name."""
    job = cluster.job_on(name, machine)
    spot = cluster.spots.get(machine)
    if job is None or spot is None or not job.requirements.replaces:
        return []
    wanted = job.requirements.replaces
    pushed = [other for other in spot.units if other != name and any(matches(pattern, other) for pattern in wanted)]
    return sorted(other for other in pushed if not comes_back(cluster, other, name))


def comes_back(cluster: Cluster, name: str, pusher: str) -> bool:
    """Whether moving `name` may in the end move `pusher`: it is asked who can move whom, from `pusher` backwards."""
    seen = {pusher}
    todo = [pusher]
    while todo:
        mover = todo.pop()
        job = cluster.jobs.get(mover)
        causes = set(job.requirements.peers if job is not None else NOTHING.peers)
        for glob in cluster.globs.matching(mover):
            causes |= glob.replacing
        causes.discard(mover)
        if name in causes:
            return True
        todo += causes - seen
        seen |= causes
    return False
