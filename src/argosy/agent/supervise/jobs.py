"""Who is started and stopped with whom, and who waits for whom: systemd's jobs, decided over plain values. Nothing is touched.

    Requires=, BindsTo=   starting a unit starts these too; when one of them is stopped or restarted, so is the unit
    BindsTo=              ... also when one of them ends by itself
    PartOf=               stopping and restarting only
    After=                who is started after is stopped before; a stop goes before any start

Units that are not loaded here are no one's concern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set

import msgspec

from argosy.agent.supervise.states import AT_REST, Job, Sub, active
from argosy.launches import STARTED

WAITING = (Job.START, Job.STOP, Job.RESTART)
BEGUN = (Job.STARTING, Job.STOPPING, Job.RESTOPPING)
UPWARDS = (Job.START, Job.STARTING)
DOWNWARDS = (Job.STOP, Job.STOPPING, Job.RESTART, Job.RESTOPPING)


class Links(msgspec.Struct, frozen=True):
    """Names in a unit's [Unit] section."""

    after: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    binds_to: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()


class Standing(msgspec.Struct, frozen=True):
    """Where a unit stands, and what it is asked to come to."""

    sub: Sub = Sub.DEAD
    job: Job = Job.NONE


Standings = Callable[[str], Standing]
NOTHING = Links()


class Graph:
    """The links among loaded units, in both directions."""

    def __init__(self, links: Mapping[str, Links]) -> None:
        self.after: dict[str, set[str]] = {}
        self.before: dict[str, set[str]] = {}
        self.needs: dict[str, list[str]] = {}
        self.needed_by: dict[str, list[str]] = {}
        self.dragged: dict[str, list[str]] = {}
        self.bound: dict[str, list[str]] = {}
        for name, own in sorted(links.items()):
            for other in own.after:
                if other in links and other != name:
                    self.after.setdefault(name, set()).add(other)
                    self.before.setdefault(other, set()).add(name)
            needs = [other for other in dict.fromkeys((*own.requires, *own.binds_to)) if other in links and other != name]
            if needs:
                self.needs[name] = needs
            for other in needs:
                self.needed_by.setdefault(other, []).append(name)
            for other in dict.fromkeys((*needs, *own.part_of)):
                if other in links and other != name:
                    self.dragged.setdefault(other, []).append(name)
            bound = [other for other in own.binds_to if other in links and other != name]
            if bound:
                self.bound[name] = bound


def start(graph: Graph, at: Standings, names: Iterable[str], kept: Set[str] = frozenset()) -> dict[str, Job]:
    """The jobs that starting these units makes: themselves (one that runs is restarted, unless it is `kept`), what they need, and what is
    restarted along."""
    jobs: dict[str, Job] = {}
    names = list(names)
    for name in names:
        if name in kept:
            continue
        standing = at(name)
        if standing.sub in AT_REST or standing.sub is Sub.AUTO_RESTART:
            jobs[name] = Job.START
        else:
            jobs[name] = Job.RESTOPPING if active(standing.sub) == "deactivating" else Job.RESTART
    todo = names
    while todo:
        name = todo.pop(0)
        restarted = jobs.get(name, Job.NONE) is not Job.NONE
        added = _pulled(graph, at, name, jobs) | (_dragged(graph, at, name, jobs) if restarted else {})
        jobs |= added
        todo += added
    return jobs


def _pulled(graph: Graph, at: Standings, name: str, jobs: Mapping[str, Job]) -> dict[str, Job]:
    found = {}
    for other in graph.needs.get(name, ()):
        standing = at(other)
        if other in jobs or standing.job in UPWARDS:
            continue
        if standing.sub in AT_REST:
            found[other] = Job.START
        elif standing.job is Job.STOP:
            found[other] = Job.NONE
        elif active(standing.sub) == "deactivating":
            found[other] = Job.RESTOPPING
    return found


def _dragged(graph: Graph, at: Standings, name: str, jobs: Mapping[str, Job]) -> dict[str, Job]:
    """Those that are restarted because `name` is: only if they run."""
    if jobs[name] is Job.START and at(name).sub is not Sub.AUTO_RESTART:
        return {}
    return {other: Job.RESTART for other in graph.dragged.get(name, ()) if other not in jobs and active(at(other).sub) in STARTED}


def stop(graph: Graph, at: Standings, names: Iterable[str]) -> dict[str, Job]:
    """The jobs that stopping these units makes: themselves and all that is stopped along. NONE: a job that is called off."""
    jobs: dict[str, Job] = {}
    todo = list(names)
    while todo:
        name = todo.pop(0)
        if name in jobs:
            continue
        standing = at(name)
        if standing.sub in AT_REST:
            jobs[name] = Job.NONE
        else:
            jobs[name] = Job.STOPPING if standing.job in (Job.STOPPING, Job.RESTOPPING) else Job.STOP
        todo += graph.dragged.get(name, ())
    return jobs


def begun(job: Job) -> Job:
    """A job whose unit has just been told to start or stop."""
    return {Job.START: Job.STARTING, Job.STOP: Job.STOPPING, Job.RESTART: Job.RESTOPPING}.get(job, job)


def settle(job: Job, sub: Sub) -> tuple[Job, bool | None]:
    """What is left of a job when its unit stands so, and whether it went well if this is its end (None: it is not its end)."""
    rest = sub in AT_REST
    match job:
        case Job.STARTING if active(sub) in ("active", "reloading") or sub is Sub.DEAD:
            return Job.NONE, True
        case Job.STARTING if sub in (Sub.FAILED, Sub.AUTO_RESTART):
            return Job.NONE, False
        case Job.STOP | Job.STOPPING if rest:
            return Job.NONE, True
        case Job.RESTART | Job.RESTOPPING if rest or sub is Sub.AUTO_RESTART:
            return Job.START, None
    return job, None


def ready(graph: Graph, at: Standings, jobs: Mapping[str, Job]) -> tuple[list[str], bool]:
    """Which waiting jobs can begin now. True: there was no way but to ignore After= for one that waits in a circle."""
    waiting = sorted(name for name, job in jobs.items() if job in WAITING)
    free = [name for name in waiting if not _blocked(graph, jobs, name)]
    if free or not waiting or any(job in BEGUN for job in jobs.values()):
        return free, False
    return waiting[:1], True


def _blocked(graph: Graph, jobs: Mapping[str, Job], name: str) -> bool:
    after, before = graph.after.get(name, ()), graph.before.get(name, ())
    if jobs[name] is Job.START:
        if any(jobs.get(other, Job.NONE) in UPWARDS for other in after):
            return True
        return any(jobs.get(other, Job.NONE) in DOWNWARDS for near in (after, before) for other in near)
    return any(jobs.get(other, Job.NONE) in DOWNWARDS for other in before)


def casualties(graph: Graph, at: Standings, failed: str) -> list[str]:
    """Those whose waiting start is called off because one that they need failed to start."""
    found: list[str] = []
    todo = [failed]
    while todo:
        for other in graph.needed_by.get(todo.pop(), ()):
            if other not in found and at(other).job is Job.START:
                found.append(other)
                todo.append(other)
    return found


def unbound(graph: Graph, at: Standings) -> dict[str, str]:
    """unit → the unit it is bound to that is down: those to stop for that."""
    found = {}
    for name, others in graph.bound.items():
        standing = at(name)
        if standing.job is not Job.NONE or active(standing.sub) not in STARTED:
            continue
        for other in others:
            if at(other).sub in AT_REST and at(other).job is Job.NONE:
                found[name] = other
                break
    return found
