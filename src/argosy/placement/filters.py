"""What may refuse a machine to a unit: one small function each, in the order in which they are asked.

A filter returns its reason in words, or "" to let the machine pass. Where fleet had words for a reason, they are fleet's. `FILTERS` are
all of them; `STAYING` are those that a unit must go on passing where it is placed already.
"""

from __future__ import annotations

from collections.abc import Callable

from argosy.model import Job
from argosy.placement.cluster import NOWHERE, SHORT_ID, Cluster, Spot, has_metadata
from argosy.placement.replacing import pusher_of
from argosy.unit.globs import conflict

Filter = Callable[[Cluster, Job, Spot], str]


def ready(cluster: Cluster, job: Job, spot: Spot) -> str:
    """Nothing new is placed on a machine that is lost, draining, cordoned, or that reports a problem which forbids it."""
    if not spot.present:
        return "the machine is lost: its agent has not been heard of for longer than its lease"
    if spot.draining:
        return "the machine is draining"
    if spot.cordoned:
        return "the machine is cordoned"
    if spot.blocked:
        return f"the machine takes no new units: {spot.blocked}"
    return ""


def machine_id(cluster: Cluster, job: Job, spot: Spot) -> str:
    """MachineID=: the full id, or its first eight characters."""
    wanted = job.requirements.machine_id
    if not wanted or wanted in (spot.id, spot.id[:SHORT_ID]):
        return ""
    return f'agent ID "{spot.id}" does not match required "{wanted}"'


def machine_metadata(cluster: Cluster, job: Job, spot: Spot) -> str:
    """MachineMetadata=: every key, with one of its values."""
    wanted = job.requirements.metadata
    if not wanted or has_metadata(spot.metadata, wanted):
        return ""
    missing = next(pair for pair in wanted if not has_metadata(spot.metadata, (pair,)))
    has = f"it has {missing[0]}={spot.metadata[missing[0]]}" if missing[0] in spot.metadata else f"it has no {missing[0]}"
    return f"local Machine metadata insufficient: {missing[0]}={' or '.join(missing[1])} is required, {has}"


def machine_of(cluster: Cluster, job: Job, spot: Spot) -> str:
    """MachineOf=: every unit named there is placed on this machine."""
    for peer in job.requirements.peers:
        if peer not in spot.units:
            return f"required peer Unit({peer}) is not scheduled locally{_where(cluster, peer)}"
    return ""


def conflicts(cluster: Cluster, job: Job, spot: Spot) -> str:
    """Conflicts=, both ways: no unit here that this one refuses, or that refuses this one."""
    if not conflicted(cluster, job, spot):
        return ""
    mine = job.requirements.conflicts
    for name in sorted(spot.units):
        other = cluster.job_on(name, spot.id)
        if conflict(job.name, mine, name, other.requirements.conflicts if other is not None else NOWHERE):
            return f"found conflict with locally-scheduled Unit({name})"
    return ""


def only_one(cluster: Cluster, job: Job, spot: Spot) -> str:
    """Global=: such a unit has a place on every machine, any other only one in the cluster; a machine holds no second copy of either."""
    return "it is placed here already" if job.name in spot.units else ""


def replaces(cluster: Cluster, job: Job, spot: Spot) -> str:
    """Replaces=: a unit here pushes this one to another machine."""
    pusher = pusher_of(cluster, job.name, spot.id)
    return f"found replace with locally-scheduled Unit({pusher})" if pusher else ""


FILTERS: tuple[tuple[str, Filter], ...] = (
    ("ready", ready),
    ("MachineID", machine_id),
    ("MachineMetadata", machine_metadata),
    ("MachineOf", machine_of),
    ("Conflicts", conflicts),
    ("Global", only_one),
    ("Replaces", replaces),
)

STAYING = tuple((name, check) for name, check in FILTERS if name not in ("ready", "Global"))


def conflicted(cluster: Cluster, job: Job, spot: Spot) -> bool:
    """Whether a conflict forbids the unit on this machine: a look into the indexes, however many units there are."""
    if not cluster.globs:
        return False
    machine, name = spot.id, job.name
    touching = cluster.globs.matching(name)
    for pattern in job.requirements.conflicts:
        glob = cluster.globs.get(pattern)
        if glob is not None:
            itself = name in spot.units and glob in touching
            if glob.matched.get(machine, 0) > itself:
                return True
    for glob in touching:
        holders = glob.held.get(machine)
        if holders and (len(holders) > 1 or name not in holders):
            return True
    return False


def refused_by(cluster: Cluster, job: Job, spot: Spot) -> bool:
    """Whether the filters that look at other units refuse: `machine_of`, `conflicts` and `replaces`, without looking for words."""
    return (
        any(peer not in spot.units for peer in job.requirements.peers)
        or conflicted(cluster, job, spot)
        or bool(pusher_of(cluster, job.name, spot.id))
    )


def _where(cluster: Cluster, peer: str) -> str:
    places = cluster.where.get(peer, NOWHERE)
    if places:
        return f" (it is on {', '.join(place[:SHORT_ID] for place in places)})"
    return " (it is placed nowhere)" if peer in cluster.jobs else " (there is no such unit to be placed)"
