"""Which machines probe which, and which machines count as unreachable: pure functions over the ring and the observers' reports."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from argosy.model import Probes, ProbeTarget

FAN = 3
"""Machines that each machine probes, and observers that each machine has; the cost per machine does not grow with the cluster."""

QUORUM = 2
"""Observers that must agree, unless the cluster has only one other machine."""

OBJECTION = 0.6
"""Seconds in which a reported machine that still reaches the store objects."""


class Report(msgspec.Struct, frozen=True):
    """A silence record as the leader knows it: its store revision, and when it was first seen here (monotonic seconds)."""

    revision: int
    seen: float


Reports = Mapping[str, Mapping[str, Report]]
"""By machine, then by observer; a machine's report about itself is its objection."""


class Verdict(msgspec.Struct, frozen=True):
    """Machines that count as unreachable, and in how many seconds to judge again although nothing changed (None: not needed)."""

    unreachable: frozenset[str] = frozenset()
    again: float | None = None


def successors(ring: Sequence[str], machine: str, fan: int = FAN) -> tuple[str, ...]:
    """The next `fan` other machines in a sorted ring of ids: those that `machine` probes."""
    at = bisect_left(ring, machine)
    following = (*ring[at : at + fan + 1], *ring[: min(at, fan + 1)])
    return tuple(dict.fromkeys(other for other in following if other != machine))[:fan]


def observers(ring: Sequence[str], machine: str, fan: int = FAN) -> tuple[str, ...]:
    """The `fan` other machines before it in the ring: those that probe `machine`, nearest first."""
    at = bisect_left(ring, machine)
    before = (*reversed(ring[max(0, at - fan) : at]), *reversed(ring[max(at, len(ring) - fan - 1) :]))
    return tuple(dict.fromkeys(other for other in before if other != machine))[:fan]


def concerned(ring: Sequence[str], machine: str) -> tuple[str, ...]:
    """The machines whose targets change when `machine` enters or leaves the ring."""
    return (machine, *observers(ring, machine))


def probes(ring: Sequence[str], doors: Mapping[str, str], machine: str) -> Probes | None:
    """What `machine` probes; None for a machine that is not in the ring."""
    if machine not in doors:
        return None
    return Probes(machine, tuple(ProbeTarget(other, doors[other]) for other in successors(ring, machine)))


def unanswered(machine: str, by: Mapping[str, Report]) -> tuple[Report, ...]:
    """The others' reports about `machine` that are newer than its own objection."""
    own = by.get(machine)
    return tuple(report for observer, report in by.items() if observer != machine and (own is None or report.revision > own.revision))


def judge(ring: Sequence[str], reports: Reports, now: float, spared: Iterable[str] = ()) -> Verdict:
    """Which machines nobody reaches.

    A machine is unreachable if every observer that the ring gives it reports so, and at least QUORUM of them (one in a cluster of two), and
    it has not objected within OBJECTION seconds. An observer that is itself reported, and does not object, has no voice: neither do its
    reports count, nor does its silence vouch for others. `spared`: machines that are never judged (the judge's own).
    """
    suspects = {machine for machine, by in reports.items() if unanswered(machine, by)}
    unreachable = set()
    again: list[float] = []
    for machine in suspects.difference(spared):
        by = reports[machine]
        voices = [observer for observer in observers(ring, machine) if observer not in suspects]
        others = len(ring) - (machine in ring)
        if len(voices) < min(QUORUM, others) or not voices or any(observer not in by for observer in voices):
            continue
        left = OBJECTION - (now - min(report.seen for report in unanswered(machine, by)))
        if left > 0:
            again.append(left)
        else:
            unreachable.add(machine)
    return Verdict(frozenset(unreachable), min(again, default=None))


def deposable(leader: str, reports: Reports, machines: int) -> bool:
    """Whether the engine leader on machine `leader` may be replaced: QUORUM observers that nobody reports (one in a cluster of two
    machines) say that its machine is silent, and it has not objected. Nothing is waited for: replacing a leader moves no unit."""
    by = reports.get(leader, {})
    if not unanswered(leader, by):
        return False
    voices = [observer for observer in by if observer != leader and not unanswered(observer, reports.get(observer, {}))]
    return len(voices) >= min(QUORUM, machines - 1) and bool(voices)
