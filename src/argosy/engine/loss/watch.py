"""The ring and the observers' reports, kept current by the engine leader."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping

from argosy.engine.loss.plan import Report, Verdict, concerned, judge, probes
from argosy.model import Machine, Probes


class LossWatch:
    """`own`: the machine that this engine runs on; it is never judged by itself."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._ring: list[str] = []
        self._doors: dict[str, str] = {}
        self._reports: dict[str, dict[str, Report]] = {}
        self._assigned: dict[str, Probes] = {}
        self._stale: set[str] = set()

    def set_machine(self, machine_id: str, machine: Machine | None) -> None:
        """A machine's record as it stands. Machines without a listener for others (`door`) neither probe nor are probed."""
        door = machine.door if machine is not None else ""
        known = self._doors.get(machine_id, "")
        if door == known:
            return
        if door and not known:
            insort(self._ring, machine_id)
        self._stale.update(concerned(self._ring, machine_id))
        if door:
            self._doors[machine_id] = door
        else:
            del self._ring[bisect_left(self._ring, machine_id)]
            del self._doors[machine_id]

    def set_report(self, machine: str, observer: str, revision: int, now: float) -> None:
        """A silence record as it stands; `revision` 0: it was deleted."""
        by = self._reports.setdefault(machine, {})
        if not revision:
            by.pop(observer, None)
        elif observer not in by or by[observer].revision != revision:
            by[observer] = Report(revision, now)
        if not by:
            del self._reports[machine]

    def reports(self) -> list[tuple[str, str]]:
        """(machine, observer) of every report that stands."""
        return [(machine, observer) for machine, by in self._reports.items() for observer in by]

    def judge(self, now: float) -> Verdict:
        return judge(self._ring, self._reports, now, (self._own,)) if self._reports else Verdict()

    def reporters(self, machine: str) -> list[str]:
        return sorted(observer for observer in self._reports.get(machine, ()) if observer != machine)

    def set_assigned(self, assigned: Mapping[str, Probes], unreadable: Iterable[str] = ()) -> None:
        """What the leader before had assigned. `unreadable`: machines whose records cannot be decoded: they are written anew or deleted."""
        self._assigned = {**{machine: Probes("") for machine in unreadable}, **assigned}
        self._stale.update(self._ring, self._assigned)

    def take_assignments(self) -> dict[str, Probes | None]:
        """By machine: what it is to probe, where that has changed since the last call; None for a record to delete."""
        stale, self._stale = self._stale, set()
        changed: dict[str, Probes | None] = {}
        for machine in sorted(stale):
            wanted = probes(self._ring, self._doors, machine)
            if wanted == self._assigned.get(machine):
                continue
            changed[machine] = wanted
            if wanted is None:
                del self._assigned[machine]
            else:
                self._assigned[machine] = wanted
        return changed
