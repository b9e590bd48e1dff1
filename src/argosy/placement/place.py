"""Where a workload goes: to a machine, or nowhere, and then for each machine the filter and the reason.

There is one pipeline. Every filter of the table says what the workload asks of it (`Filter.question`); all that are asked anything must
pass the machine that is taken. What a filter declares beyond that decides only which machines are looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from functools import cache
from operator import attrgetter

import msgspec

from argosy.model import Job
from argosy.placement.cluster import Cluster
from argosy.placement.filters import FILTERS
from argosy.placement.filters.base import LASTING, OTHERS, Depends, Filter, nobody
from argosy.placement.filters.ready import reason as why_not_ready
from argosy.placement.queue import Answer, Question
from argosy.placement.spot import Spot
from argosy.requirements import NOTHING


class Accepted(msgspec.Struct, frozen=True):
    """The machine, and why it."""

    machine: str
    reason: str


class Refusal(msgspec.Struct, frozen=True):
    """A machine that a filter refused; `filter` is its name. `depends`: what may make the filter change its answer."""

    machine: str
    filter: str
    reason: str
    depends: Depends = Depends.ANYTHING


FEW = 64
"""Machines that are looked at one by one."""

Verdict = Accepted | tuple[Refusal, ...]


def pick(cluster: Cluster, job: Job, avoid: Collection[str] = (), filters: Sequence[Filter] = FILTERS) -> Spot | None:
    """Return the machine for one more copy of the workload, not one of `avoid`; None if every machine is refused.

    Soft constraints and affinities count like the others at first; if no machine meets all of them, none of them counts (as in Swarm).
    The cost does not grow with the cluster: machines are tried in the strategy's order until one fits.
    """
    asked = filters_asked(cluster, job, filters)
    few: Collection[str] | None = None
    for one, _ in asked:
        if one.candidates is not None:
            found = one.candidates(cluster, job)
            if found is not None and (few is None or len(found) < len(few)):
                few = found
    if few is not None and len(few) <= FEW:
        spots = [cluster.spots[machine] for machine in few if machine not in avoid]
        fitting = [spot for spot in spots if not any(one.refuses(cluster, job, spot) for one, _ in asked)]
        best = min(fitting, key=cluster.strategy.order(job.name, cluster.ring), default=None)
    else:
        best = _search(cluster, job, asked, avoid)
    if best is None:
        hard = without_soft(job)
        if hard is not job:
            return pick(cluster, hard, avoid, filters)
    return best


def _search(cluster: Cluster, job: Job, asked: list[tuple[Filter, Question]], avoid: Collection[str]) -> Spot | None:
    """Return the first machine that no filter refuses, from the queue that leaves out the most that are refused."""
    queues = cluster.queues
    costly: tuple[Question, ...] = ()
    if queues.costly:
        costly = tuple([question for _, question in asked if question in queues.costly])

    def ask(spot: Spot) -> Answer:
        for one, question in asked:
            if one.refuses(cluster, job, spot):
                if question in costly:
                    return Answer.FORGET
                if one.depends in LASTING:
                    queues.refused(question)
                return Answer.ASIDE
        return Answer.FITS

    if costly:
        asked.sort(key=lambda each: each[1] not in costly)
    return cluster.strategy.first(queues.get(costly) if costly else queues.common, ask, avoid, job.name, cluster.ring)


def filters_asked(cluster: Cluster, job: Job, filters: Sequence[Filter]) -> list[tuple[Filter, Question]]:
    """Return the filters that may refuse a machine to the workload, each with its question."""
    wanted = job.requirements
    if filters is FILTERS:  # the same answer as without these lines, sooner
        held = _FIELDS(wanted)
        filters = _WITHOUT_FIELD if held == _EMPTY else _of_fields(tuple([bool(value) for value in held]))
    asked: list[tuple[Filter, Question]] = []
    for one in filters:
        field, find = one.field, one.question
        question: Hashable = getattr(wanted, field) if field else ()
        if question or not field:
            if find is not None:
                question = find(cluster, job)
                if question is None:
                    continue
            asked.append((one, (one.name, question)))
    return asked


_NAMES = tuple(dict.fromkeys(one.field for one in FILTERS if one.field))
_FIELDS = attrgetter(*_NAMES)
_EMPTY = _FIELDS(NOTHING)
_WITHOUT_FIELD = tuple(one for one in FILTERS if not one.field)


@cache
def _of_fields(held: tuple[bool, ...]) -> tuple[Filter, ...]:
    """Return the filters that may refuse something to workloads of which exactly these fields hold something."""
    empty = {name for name, holds in zip(_NAMES, held, strict=True) if not holds}
    return tuple(one for one in FILTERS if one.field not in empty)


def place(cluster: Cluster, job: Job, avoid: Collection[str] = ()) -> Verdict:
    """Return the machine for one more copy of the workload, or why each machine is refused."""
    spot = pick(cluster, job, avoid)
    if spot is not None:
        return Accepted(spot.id, reason_for(cluster, job, spot))
    return tuple(answer for answer in why(cluster, job) if isinstance(answer, Refusal))


def without_soft(job: Job) -> Job:
    """Return the job without its soft constraints and affinities; the same one if it has none."""
    wanted = job.requirements
    if not any(expression.soft for expression in (*wanted.constraints, *wanted.affinities)):
        return job
    constraints = tuple(expression for expression in wanted.constraints if not expression.soft)
    affinities = tuple(expression for expression in wanted.affinities if not expression.soft)
    return Job(job.name, msgspec.structs.replace(wanted, constraints=constraints, affinities=affinities))


def reason_for(cluster: Cluster, job: Job, spot: Spot) -> str:
    """Return why this machine, before the workload is placed there."""
    wanted = job.requirements
    if wanted.everywhere:
        return "a global unit runs on every machine that fits"
    if wanted.peers:
        return f"beside {', '.join(wanted.peers)} (MachineOf)"
    if wanted.machine_id:
        return f"MachineID={wanted.machine_id}"
    words = cluster.strategy.words(spot)
    if not (wanted.metadata or wanted.constraints or wanted.affinities):
        return words
    asked = [f"{key}={' or '.join(values)}" for key, values in wanted.metadata]
    asked += [str(expression) for expression in (*wanted.constraints, *wanted.affinities)]
    return f"{words} of the machines with {', '.join(asked)}"


def refusal(cluster: Cluster, job: Job, spot: Spot) -> Refusal | None:
    """Return the first filter that refuses one more copy of the workload on this machine."""
    return _first_refusal(cluster, without_soft(job), spot, FILTERS)


def expulsion(cluster: Cluster, job: Job, spot: Spot) -> Refusal | None:
    """Return the first filter that a workload placed on this machine does not pass any more, of those that it must go on passing."""
    return _first_refusal(cluster, job, spot, STAYING)


STAYING = tuple(one for one in FILTERS if one.staying)


def _first_refusal(cluster: Cluster, job: Job, spot: Spot, filters: Sequence[Filter]) -> Refusal | None:
    for one in filters:
        if one.refuses(cluster, job, spot):
            return Refusal(spot.id, one.name, one.reason(cluster, job, spot), one.depends)
    return None


def waits_for(cluster: Cluster, job: Job, filters: Sequence[Filter] = FILTERS) -> Depends:
    """Return when to look again at a workload that no machine takes: when a machine changes (MACHINE), also when something leaves
    (OCCUPANTS), or also when something comes (ANYTHING). Those that a filter calls followers are looked at in any case."""
    if any(one.depends is Depends.ANYTHING and one.followers is None for one, _ in filters_asked(cluster, job, filters)):
        return Depends.ANYTHING
    return Depends.OCCUPANTS if tied(cluster, job.name) else Depends.MACHINE


def tied(cluster: Cluster, name: str, filters: Sequence[Filter] = FILTERS) -> bool:
    """Return whether this workload's place may depend on others, or theirs on it."""
    job = cluster.jobs.get(name) or Job(name, NOTHING)
    return (
        cluster.differs(name)
        or any(one.depends in OTHERS for one, _ in filters_asked(cluster, job, filters))
        or bool(followers(cluster, name))
    )


def follows(cluster: Cluster, job: Job) -> bool:
    """Return whether the workload may fit on a machine because something has come there."""
    return any(_ANYTHING_FIELDS(job.requirements)) or bool(filters_asked(cluster, job, _ANYTHING))


_ANYTHING = tuple(one for one in FILTERS if one.depends is Depends.ANYTHING and not one.field)
_ANYTHING_FIELDS = attrgetter(*(one.field for one in FILTERS if one.depends is Depends.ANYTHING and one.field))


def followers(cluster: Cluster, name: str) -> list[str]:
    """Return the workloads whose place may depend on where this one is."""
    return [follower for find in _FOLLOWERS for follower in find(cluster, name)]


_FOLLOWERS = tuple(one.followers for one in FILTERS if one.followers not in (None, nobody))


def why(cluster: Cluster, job: Job) -> tuple[Refusal | Accepted, ...]:
    """Return for every machine, by id: what refuses the workload there, or that it runs there, or that it fits."""
    best = None if job.name in cluster.where else pick(cluster, job)
    return tuple(_answer(cluster, job, cluster.spots[machine], best) for machine in sorted(cluster.spots))


def _answer(cluster: Cluster, job: Job, spot: Spot, best: Spot | None) -> Refusal | Accepted:
    if job.name in spot.units:
        leaving = expulsion(cluster, job, spot) if spot.present else None
        if leaving is not None:
            return leaving
        return Accepted(spot.id, "it is placed here" if spot.ready else f"it is placed here; {why_not_ready(cluster, job, spot)}")
    found = refusal(cluster, job, spot)
    if found is not None:
        return found
    if best is None or spot is best or job.requirements.everywhere:
        return Accepted(spot.id, f"it fits: {reason_for(cluster, job, spot)}")
    return Accepted(spot.id, f"it fits, but {best.id} comes first: {reason_for(cluster, job, best)}")
