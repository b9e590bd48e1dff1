"""This machine's record in the store: what it says, and that no other agent registers a machine under the same id."""

from __future__ import annotations

import msgspec

from argosy.errors import InvalidInput, Refused
from argosy.model import Machine, Problem
from argosy.reconcile import Clock
from argosy.state import keys
from argosy.state.lease import Lease, within
from argosy.state.records import decode, encode
from argosy.store.base import Condition, Record, Store

OVERDUE = 3.0
"""Seconds that a store may take beyond a lease's time to end it."""
LOOK_AGAIN = 0.25


class Registration:
    """`machine` is the record as it is published under the lease. `joined`: this process has registered it at least once."""

    def __init__(self, store: Store, lease: Lease, machine: Machine, clock: Clock) -> None:
        self.machine = machine
        self.joined = False
        self._store = store
        self._lease = lease
        self._clock = clock
        self._key = keys.machine(machine.id)
        self._problems: dict[str, Problem] = {}

    def update(self, machine: Machine) -> None:
        """Publish the record if it has changed."""
        if machine != self.machine:
            self.machine = machine
            self._lease.publish(self._key, encode(machine))

    def report_problem(self, source: str, problem: Problem | None) -> None:
        """Add a problem to the record, or take it back (None). `source` names who reports; each has at most one problem."""
        if problem is None:
            self._problems.pop(source, None)
        else:
            self._problems[source] = problem
        self.update(msgspec.structs.replace(self.machine, problems=tuple(self._problems[name] for name in sorted(self._problems))))

    def has_problem(self, source: str) -> bool:
        return source in self._problems

    async def find_record(self, earlier: float) -> int:
        """Return the revision of the record to replace, 0 if there is none. `earlier` is the `since` of the agent that ran here before; the
        record of an agent elsewhere is waited for until it ends. Raises Refused if it is kept alive, and StoreUnavailable."""
        patience = 0.0
        began = self._clock.monotonic()
        while True:
            record = await within(self._clock, self._lease.ttl, self._store.get(self._key))
            if record is None:
                return 0
            other = _machine(record)
            if record.lease == 0 or (other is not None and other.since in (earlier, self.machine.since)):
                return record.modified
            patience = max(patience, (other.ttl if other else 0.0) or self._lease.ttl)
            if self._clock.monotonic() - began > patience + OVERDUE:
                where = f"the agent of {other.name or 'a machine'} at {other.address or 'an unknown address'}" if other else "another agent"
                raise Refused(
                    f"machine id {self.machine.id} is kept alive by {where}",
                    remedy="give this machine an id of its own: [machine] id, or a new /etc/machine-id if it was copied with the disk",
                )
            await self._clock.sleep(LOOK_AGAIN)

    async def join(self, revision: int) -> None:
        """Take a lease whose first record replaces the one at `revision`. Raises Conflict, LeaseLost and StoreUnavailable."""
        self._lease.publish(self._key, encode(self.machine))
        await self._lease.take([Condition(self._key, revision)])
        self.joined = True


def _machine(record: Record) -> Machine | None:
    try:
        return decode(Machine, record.value, record.key)
    except InvalidInput:
        return None
