"""Waiting until units have come to what was wished of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from argosy.api.shapes import UnitView, WhyAnswer, Written
from argosy.cli.client import Client
from argosy.cli.cluster import machines, unit_path, units, where_seen
from argosy.cli.outcome import Judge, Machines, Outcome, unplaced
from argosy.cli.progress import AFTER, Progress
from argosy.cli.telling import Wishes, tell
from argosy.errors import Conflict, NotFound
from argosy.terminal import echo

LONGEST_READ = 10.0
"""Seconds that one blocking question lasts."""

INTERRUPTED = 130


def waits(function: Callable[..., Any]) -> Callable[..., Any]:
    """fleetctl's --block-attempts and --no-block."""
    attempts = click.option(
        "--block-attempts",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Wait N seconds at most (0: for ever); the units go on.",
    )
    return click.option("--no-block", is_flag=True, help="Do not wait.")(attempts(function))


def standing(client: Client, names: Sequence[str], verb: str) -> list[UnitView]:
    """The named units, to `verb` them. Raises NotFound, and Conflict if one is inactive."""
    found = {unit.name: unit for unit in units(client, names)[0]}
    for name in names:
        if name not in found:
            raise NotFound(f"unit {name} does not exist", remedy="argosy list-unit-files shows those that do")
        if found[name].target == "inactive":
            raise Conflict(f"Unable to {verb} unit {name} in state inactive", remedy=f"argosy start {name} starts it")
    return [found[name] for name in names]


def bring(
    client: Client,
    verb: str,
    wishes: Wishes,
    judge: Callable[[UnitView, Written, Machines], Outcome],
    *,
    no_block: bool,
    attempts: int,
) -> int:
    """Sends wishes and waits for what comes of them; returns the exit status. `judge` has the unit, what was written of it, machines."""
    written, refused = tell(client, wishes)
    if not written:
        return int(bool(refused))
    if no_block:
        for unit in units(client, list(written))[0]:
            echo(f"Triggered {'global unit' if unit.everywhere else 'unit'} {unit.name} {verb}")
        return int(bool(refused))
    waiter = Waiter(client, attempts)
    good = waiter.until(list(written), lambda unit: judge(unit, written[unit.name], waiter.machines))
    return INTERRUPTED if waiter.interrupted else int(bool(refused) or not good)


class Waiter:
    """Waits for units, printing each outcome as it comes, and why a unit is nowhere if that takes long."""

    def __init__(self, client: Client, attempts: int = 0, progress: Progress | None = None) -> None:
        self.client = client
        self.progress = progress or Progress()
        self.limit = float(attempts) or None
        self.machines = machines(client)
        self.interrupted = False
        self._told: set[tuple[str, ...]] = set()

    def until(self, names: Sequence[str], judge: Judge) -> bool:
        """True when all units came to what they should; False when one did not, when time is up, and when the person does not wait
        any longer."""
        waiting: dict[str, str] = dict.fromkeys(names, "")
        try:
            with self.progress:
                return self._until(waiting, judge)
        except KeyboardInterrupt:
            self.interrupted = True
            echo(f"Not waiting any longer for {_few(list(waiting))}; what was asked for goes on. See: argosy list-units", err=True)
            return False

    def _until(self, waiting: dict[str, str], judge: Judge) -> bool:
        good = True
        index = 0
        while waiting:
            found, index = units(self.client, list(waiting), index, self._patience() if index else 0.0)
            self._learn(found)
            present = {unit.name: unit for unit in found}
            for name in list(waiting):
                outcome = self._judged(name, present.get(name), judge)
                if outcome.done:
                    del waiting[name]
                    good = good and outcome.good
                    self.progress.echo(outcome.text, *outcome.more, err=not outcome.good)
                else:
                    waiting[name] = outcome.text
            if waiting and self.limit is not None and self.progress.waited >= self.limit:
                self._give_up(waiting, present)
                return False
            if waiting:
                self.progress.say(f"waiting for {_few(list(waiting))}: {next(iter(waiting.values()))}")
        return good

    def _judged(self, name: str, unit: UnitView | None, judge: Judge) -> Outcome:
        """The judge's outcome. A unit that is nowhere for long is explained, and not waited for if it wants no machine in particular."""
        if unit is None:
            return Outcome(True, False, f"Unit {name} was destroyed meanwhile")
        outcome = judge(unit)
        if outcome.done or unit.target == "inactive" or any(where_seen(unit)) or self.progress.waited <= AFTER:
            return outcome
        first, *more = self._why(name)
        if unit.everywhere:
            return Outcome(True, True, first, tuple(more))
        self._tell([first, *more])
        return outcome

    def _give_up(self, waiting: Mapping[str, str], present: Mapping[str, UnitView]) -> None:
        self.progress.clear()
        for name, what in waiting.items():
            if not any(where_seen(present[name])) and present[name].target != "inactive":
                self._tell(self._why(name))
            echo(f"Error: gave up waiting for {name}: {what}", err=True)

    def _patience(self) -> float:
        """How long to wait for news: until there is something to say, or time is up."""
        patience = 1.0 if self.progress.visible else LONGEST_READ
        if self.progress.waited <= AFTER:
            patience = AFTER - self.progress.waited + 0.05
        return patience if self.limit is None else min(patience, max(0.05, self.limit - self.progress.waited))

    def _learn(self, found: Sequence[UnitView]) -> None:
        if any(machine not in self.machines for unit in found for machine in where_seen(unit)):
            self.machines.update(machines(self.client))

    def _why(self, name: str) -> list[str]:
        return unplaced(name, self.client.get(WhyAnswer, unit_path(name, "why")), self.machines)

    def _tell(self, lines: Sequence[str]) -> None:
        if tuple(lines) not in self._told:
            self._told.add(tuple(lines))
            self.progress.echo(*lines, err=True)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more units"
