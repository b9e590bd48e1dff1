"""Where a unit goes: to a machine, or nowhere, and then for each machine the filter and the reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from argosy.model import Job
from argosy.placement.cluster import Cluster, Spot
from argosy.placement.filters import FILTERS, STAYING, conflicted, refused_by
from argosy.placement.filters import ready as is_ready


class Accepted(msgspec.Struct, frozen=True):
    """The machine, and why it."""

    machine: str
    reason: str


class Refusal(msgspec.Struct, frozen=True):
    """A machine that a filter refused; `filter` is the name of the option or condition."""

    machine: str
    filter: str
    reason: str


FEW = 64
"""Machines that are looked at one by one."""

Verdict = Accepted | tuple[Refusal, ...]


def pick(cluster: Cluster, job: Job, avoid: Collection[str] = ()) -> Spot | None:
    """The machine for one more copy of the unit, not one of `avoid`; None if every machine is refused.

    The cost does not grow with the cluster: machines are tried in the strategy's order, and only where a filter refuses does the search
    go on.
    """
    wanted = job.requirements
    if wanted.peers:
        beside = min((cluster.where.get(peer, ()) for peer in wanted.peers), key=len)
        if len(beside) <= FEW:
            return _first(cluster, job, [cluster.spots[machine] for machine in beside], avoid)
    if wanted.machine_id:
        return _first(cluster, job, cluster.with_id(wanted.machine_id), avoid)
    if not cluster.globs and not wanted.peers:
        return cluster.queue(wanted.metadata).first(None, avoid)
    shape = cluster.shape(job)
    if shape is None or wanted.peers:
        return cluster.queue(wanted.metadata).first(lambda spot: refused_by(cluster, job, spot), avoid)
    if not shape[1] and not shape[2]:
        return cluster.queue(wanted.metadata).first(None, avoid)
    queue = cluster.shape_queue(shape)
    before = queue.wasted
    found = queue.first(lambda spot: conflicted(cluster, job, spot), avoid)
    if queue.wasted != before:
        cluster.waste(shape, queue.wasted - before)
    return found


def place(cluster: Cluster, job: Job, avoid: Collection[str] = ()) -> Verdict:
    """The machine for one more copy of the unit, or why each machine is refused."""
    spot = pick(cluster, job, avoid)
    if spot is not None:
        return Accepted(spot.id, reason_for(cluster, job, spot))
    return tuple(answer for answer in why(cluster, job) if isinstance(answer, Refusal))


def reason_for(cluster: Cluster, job: Job, spot: Spot) -> str:
    """Why this machine, before the unit is placed there."""
    wanted = job.requirements
    if wanted.everywhere:
        return "a global unit runs on every machine that fits"
    if wanted.peers:
        return f"beside {', '.join(wanted.peers)} (MachineOf)"
    if wanted.machine_id:
        return f"MachineID={wanted.machine_id}"
    if not wanted.metadata:
        return f"fewest units ({len(spot.units)})"
    shown = ", ".join(f"{key}={' or '.join(values)}" for key, values in wanted.metadata)
    return f"fewest units ({len(spot.units)}) of the machines with {shown}"


def refusal(cluster: Cluster, job: Job, spot: Spot) -> Refusal | None:
    """The first filter that refuses one more copy of the unit on this machine."""
    for name, check in FILTERS:
        reason = check(cluster, job, spot)
        if reason:
            return Refusal(spot.id, name, reason)
    return None


def expulsion(cluster: Cluster, job: Job, spot: Spot) -> Refusal | None:
    """The first filter that a unit placed on this machine does not pass any more. Orders do not count: they are about what is new."""
    for name, check in STAYING:
        reason = check(cluster, job, spot)
        if reason:
            return Refusal(spot.id, name, reason)
    return None


def why(cluster: Cluster, job: Job) -> tuple[Refusal | Accepted, ...]:
    """For every machine, by id: what refuses the unit there, or that it runs there, or that it fits."""
    best = None if job.name in cluster.where else pick(cluster, job)
    return tuple(_answer(cluster, job, cluster.spots[machine], best) for machine in sorted(cluster.spots))


def _answer(cluster: Cluster, job: Job, spot: Spot, best: Spot | None) -> Refusal | Accepted:
    if job.name in spot.units:
        leaving = expulsion(cluster, job, spot) if spot.present else None
        if leaving is not None:
            return leaving
        state = is_ready(cluster, job, spot)
        return Accepted(spot.id, f"it is placed here; {state}" if state else "it is placed here")
    found = refusal(cluster, job, spot)
    if found is not None:
        return found
    if best is None or spot is best or job.requirements.everywhere:
        return Accepted(spot.id, f"it fits: {reason_for(cluster, job, spot)}")
    return Accepted(spot.id, f"it fits, but {best.id} comes first: {reason_for(cluster, job, best)}")


def _first(cluster: Cluster, job: Job, spots: Iterable[Spot], avoid: Collection[str]) -> Spot | None:
    for spot in sorted(spots, key=cluster.strategy):
        if spot.id not in avoid and all(not check(cluster, job, spot) for _, check in FILTERS):
            return spot
    return None
