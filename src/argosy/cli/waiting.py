"""Telling the cluster what units should come to, and waiting until they have."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

import click

from argosy.cli.client import Client, segment
from argosy.cli.names import Given
from argosy.cli.outcome import Outcome, View, by_id, reached, started, unplaced
from argosy.errors import ArgosyError, InvalidInput
from argosy.unit.parse import UnitFile, parse

VERBS = {"launched": "start", "loaded": "load", "inactive": "unload"}
UNITS = "/argosy/v1/units"
BATCH = 1000
ASK_WHY_AFTER = 1.5
"""Seconds without a place after which a waiting start says why."""


def waits(function: Callable[..., Any]) -> Callable[..., Any]:
    """fleetctl's --block-attempts and --no-block."""
    function = click.option(
        "--block-attempts", type=click.IntRange(min=0), default=0, help="Wait this many seconds at the most (0: for ever)."
    )(function)
    return click.option("--no-block", is_flag=True, help="Do not wait.")(function)


def machines(client: Client) -> dict[str, View]:
    return by_id(client.ask("GET", "/argosy/v1/machines")["machines"])


def units(client: Client, names: Sequence[str] = (), index: int = 0, wait: float = 0.0) -> tuple[list[View], int]:
    query: list[tuple[str, Any]] = [("name", name) for name in names]
    if index:
        query += [("index", index), ("wait", wait)]
    answer = client.ask("GET", f"{UNITS}?{urlencode(query)}" if query else UNITS, timeout=wait + 30)
    return answer["units"], answer["index"]


def wish(client: Client, wanted: Sequence[Given], *, replace: bool = False, **what: Any) -> dict[str, View]:
    """Tells the cluster; returns what was written by name. Units with a file here are submitted if the cluster does not know them, and
    replaced if told to; a file that differs is warned of. Raises the first unit's error after telling of all."""
    known = {unit["name"]: unit for unit in units(client, [given.name for given in wanted])[0]} if any(g.text for g in wanted) else {}
    wishes = []
    for given in wanted:
        told: dict[str, Any] = {"name": given.name, **what}
        if given.text is not None:
            if given.name not in known:
                told["text"] = given.text
            elif _differs(known[given.name], given.text):
                if replace:
                    told |= {"text": given.text, "replace": True}
                else:
                    click.echo(f"WARNING: Unit {given.name} in registry differs from local unit file {given.path}", err=True)
        wishes.append(told)
    written: dict[str, View] = {}
    failures: list[tuple[str, ArgosyError]] = []
    for start in range(0, len(wishes), BATCH):
        for result in client.ask("POST", UNITS, {"units": wishes[start : start + BATCH]})["results"]:
            if result.get("error"):
                failures.append((result["name"], InvalidInput(result["error"]["message"], remedy=result["error"].get("remedy", ""))))
            else:
                written[result["name"]] = result
    for _, error in failures[1:]:
        click.echo(f"Error: {error.message}", err=True)
    if failures:
        raise failures[0][1]
    return written


def _differs(unit: View, text: str) -> bool:
    file: UnitFile = parse(text)
    return file.hash != unit.get("hash")


class Waiter:
    """Waits for units, printing each outcome as it comes, and why a unit is nowhere if that takes long."""

    def __init__(self, client: Client, attempts: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.client = client
        self.clock = clock
        self.begun = clock()
        self.deadline = self.begun + attempts if attempts else None
        self.told: set[str] = set()
        self.outcomes: dict[str, Outcome] = {}
        self.machines = machines(client)

    def until(self, names: Sequence[str], judge: Callable[[View], Outcome], index: int = 0) -> bool:
        """True when all units came to what they should."""
        left = list(names)
        while left:
            found, index = units(self.client, left, index, self._patience(bool(index)))
            present = {unit["name"]: unit for unit in found}
            self._learn(found)
            for name in list(left):
                outcome = judge(present[name]) if name in present else Outcome(True, False, f"Unit {name} was destroyed meanwhile")
                if outcome.done:
                    left.remove(name)
                    self.outcomes[name] = outcome
                    click.echo(outcome.text, err=not outcome.good)
                elif self.clock() - self.begun > ASK_WHY_AFTER and not present[name].get("places"):
                    self._tell_why(name)
            if left and self.deadline is not None and self.clock() >= self.deadline:
                click.echo(f"Error: gave up waiting for {', '.join(left)}", err=True)
                return False
        return all(self.outcomes[name].good for name in names)

    def _patience(self, blocking: bool) -> float:
        if not blocking:
            return 0.0
        patience = ASK_WHY_AFTER if self.clock() - self.begun < ASK_WHY_AFTER else 10.0
        return patience if self.deadline is None else max(0.0, min(patience, self.deadline - self.clock()))

    def _learn(self, found: Sequence[View]) -> None:
        if any(place["machine"] not in self.machines for unit in found for place in unit.get("places", [])):
            self.machines.update(machines(self.client))

    def _tell_why(self, name: str) -> None:
        why = self.client.ask("GET", f"{UNITS}/{segment(name)}/why")
        text = unplaced(name, why, self.machines)
        if text not in self.told:
            self.told.add(text)
            click.echo(text, err=True)


def bring(
    client: Client,
    wanted: Sequence[Given],
    target: str,
    *,
    replace: bool = False,
    no_block: bool = False,
    attempts: int = 0,
    restart: bool = False,
) -> bool:
    """Tells units their target and waits for it; True when all came to it."""
    told: dict[str, Any] = {"restart": True} if restart else {"target": target}
    written = wish(client, wanted, replace=replace, **told)
    names = [given.name for given in wanted]
    if no_block:
        for name in names:
            click.echo(f"Triggered unit {name} {'restart' if restart else VERBS[target]}")
        return True
    waiter = Waiter(client, attempts)

    def judge(unit: View) -> Outcome:
        if target == "launched":
            return started(unit, written[unit["name"]].get("launch", 0), waiter.machines)
        return reached(unit, target, waiter.machines)

    return waiter.until(names, judge)
