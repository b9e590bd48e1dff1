"""What an agent knows of its machine's workloads, and which of them have changed: a round looks at those only. Decides and touches nothing.

A unit is looked at again when it, its placement, its state or a unit that it binds to has changed, or when its time has come.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Collection, Iterable, Mapping, Set

from argosy.agent.bodies import body
from argosy.agent.plan import RETRY_MOST, Command, Wait, anew, next_look, plan, report
from argosy.model import Observed, Placement, UnitState
from argosy.state.table import Changes
from argosy.verdict import at_rest

log = logging.getLogger(__name__)


class UnitTable:
    """`placements` is None until they are known. `observed` is what is loaded, of all `kinds`. `modified`: the revisions of the placements'
    records. `changed`: units whose state is to be published."""

    def __init__(self, machine: str, kinds: Iterable[str]) -> None:
        self.placements: dict[str, Placement] | None = None
        self.unreadable: set[str] = set()
        self.modified: dict[str, int] = {}
        self.observed: dict[str, Observed] = {}
        self.states: dict[str, UnitState] = {}
        self.changed: set[str] = set()
        self._machine = machine
        self._unseen: dict[str, set[str] | None] = dict.fromkeys(kinds)
        self._known: set[str] = set()
        self._unreported: set[str] = set()
        self._unplanned: set[str] = set()
        self._bound: dict[str, set[str]] = {}
        self._due: dict[str, float] = {}
        self._times: list[tuple[float, str]] = []

    def forget_observed(self) -> None:
        """Nothing is known of what is loaded."""
        self.observed.clear()
        self._known.clear()
        self._unseen = dict.fromkeys(self._unseen)

    # ---------------------------------------------------------------- what has changed

    def take(self, changes: Changes[Placement]) -> None:
        """Placements were written or deleted."""
        before = self.placements if self.placements is not None else {}
        items = dict(changes.items)
        if changes.reset:
            items = dict.fromkeys(before) | items
            self.unreadable, self.modified = set(), {}
            self.doubt(items.keys())
        for name in changes.modified:
            if items.get(name) is None:  # whoever decoded it has told why
                log.error(
                    "the placement of %s cannot be read: %s", name, "the one before stands" if name in before else "it stays as it is"
                )
        for name, placement in items.items():
            self.modified.pop(name, None)
            self.unreadable.discard(name)
            if placement is None and name in changes.modified:
                placement = before.get(name)
                self.unreadable.add(name)
            self._place(before, name, placement)
        for name in changes.modified.keys() - items.keys():
            self.unreadable.add(name)
            self.doubt((name,))
        self.modified.update(changes.modified)
        self.placements = before

    def _place(self, placements: dict[str, Placement], name: str, placement: Placement | None) -> None:
        old = placements.pop(name, None)
        for leader in body(old).requirements(name).binds_to if old is not None else ():
            self._bound[leader].discard(name)
            if not self._bound[leader]:
                del self._bound[leader]
        if placement is not None:
            placements[name] = placement
            for leader in body(placement).requirements(name).binds_to:
                self._bound.setdefault(leader, set()).add(name)
            if old is not None and name in self.states and _another(old, placement):
                self.set_state(name, anew(self.states[name]))
        self.doubt((name,))

    def set_state(self, name: str, state: UnitState | None) -> None:
        """The unit is in this state; None: it has none."""
        if state == self.states.get(name):
            return
        if state is None:
            del self.states[name]
        else:
            self.states[name] = state
        self.changed.add(name)
        self.doubt((name,))

    def unsee(self, kind: str, names: Iterable[str] | None) -> None:
        """Units of a kind may have changed (None: all)."""
        unseen = self._unseen[kind]
        if names is None:
            self._unseen[kind] = None
        elif unseen is not None:
            unseen.update(names)

    def unseen(self, kind: str) -> frozenset[str] | None:
        """The units of a kind to look at now (None: all); they count as seen."""
        unseen = self._unseen[kind]
        self._unseen[kind] = set()
        return None if unseen is None else frozenset(unseen)

    def saw(self, kind: str, names: Collection[str] | None, found: Mapping[str, Observed]) -> None:
        """Of the units `names` (None: all) `found` are loaded. One that is loaded as two kinds is shown as one until that is unloaded."""
        if names is None:
            self._known.add(kind)
            names = found.keys() | {name for name, seen in self.observed.items() if seen.kind == kind}
        for name in names:
            before, now = self.observed.get(name), found.get(name)
            if before is not None and before.kind != kind:
                continue
            if now is None and before is not None:
                del self.observed[name]
                for other in self._unseen.keys() - {kind}:
                    self.unsee(other, (name,))
                self.doubt((name,))
            elif now is not None and now != before:
                self.observed[name] = now
                self.doubt((name,))

    def doubt(self, names: Iterable[str]) -> None:
        """Look again at units, and at those that bind to them."""
        for name in names:
            for doubtful in (name, *self._bound.get(name, ())):
                self._unreported.add(doubtful)
                self._unplanned.add(doubtful)

    def doubt_all(self) -> None:
        self.doubt([*(self.placements or ()), *self.observed, *self.states])

    # ---------------------------------------------------------------- what follows

    def is_known(self, kind: str) -> bool:
        """Whether all that is loaded of a kind has been seen."""
        return kind in self._known

    def leftovers(self) -> bool:
        """Whether anything still runs that is not placed here."""
        placed = {*(self.placements or ()), *self.unreadable}
        return any(name not in placed and not at_rest(seen) for name, seen in self.observed.items())

    def report(self, now: float) -> None:
        """Bring the states of what has changed up to date."""
        if self.placements is None:
            return
        names, self._unreported = self._unreported, set()
        if len(self._known) < len(self._unseen):  # of what has not been seen, what was known stands
            self._unreported = names - self.observed.keys()
            names &= self.observed.keys()
        states = report(self._machine, self.placements, self.observed, self.states, now, names)
        for name in names:
            again = name in self._unreported
            self.set_state(name, states.get(name))
            if not again:
                self._unreported.discard(name)  # a second report would say the same

    def pending(self, monotonic: float) -> set[str]:
        """The units to plan for now, also those whose time has come; they count as planned."""
        while self._times and self._times[0][0] <= monotonic:
            time, name = heapq.heappop(self._times)
            if self._due.get(name) == time:
                self._unreported.add(name)
                self._unplanned.add(name)
                del self._due[name]
        names, self._unplanned = self._unplanned, set()
        return names

    def with_leaders(self, names: Iterable[str]) -> frozenset[str]:
        """These units and those that they bind to: all that a plan for them depends on."""
        placements = self.placements or {}
        leaders = (body(placements[name]).requirements(name).binds_to for name in names if name in placements)
        return frozenset(names).union(*leaders)

    def replan(self, names: Iterable[str]) -> None:
        """What was planned for these units has not been done."""
        self._unplanned.update(names)

    def plan(self, names: Set[str], now: float, monotonic: float, *, fenced: bool) -> tuple[Command, ...]:
        """The actions for these units but waiting, which is remembered."""
        assert self.placements is not None
        actions = plan(self.placements, self.observed, self.states, now, fenced=fenced, unreadable=self.unreadable, names=names)
        waits = {action.unit: action for action in actions if isinstance(action, Wait)}
        for name in names:
            state, wait = self.states.get(name), waits.get(name)
            pause = next_look((wait,) if wait is not None else (), {name: state} if state is not None else {}, now)
            self._due.pop(name, None)
            if pause is not None:
                self.wake_at(name, monotonic + pause)
        return tuple(action for action in actions if not isinstance(action, Wait))

    def wake_at(self, name: str, monotonic: float) -> None:
        """Look again at a unit at that time."""
        self._due[name] = monotonic
        heapq.heappush(self._times, (monotonic, name))

    def pause(self, monotonic: float) -> float | None:
        """Seconds until the first unit is due; None: none will be."""
        while self._times and self._due.get(self._times[0][1]) != self._times[0][0]:
            heapq.heappop(self._times)
        return max(0.05, min(self._times[0][0] - monotonic, RETRY_MOST)) if self._times else None


def _another(before: Placement, after: Placement) -> bool:
    """Whether a placement asks for something else than before."""
    return (before.text, before.target, before.launch, before.kind) != (after.text, after.target, after.launch, after.kind)
