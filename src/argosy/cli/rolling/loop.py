"""The rolling change at work: looks, plans, and tells the cluster. All that it needs to go on is in the cluster, so it may be interrupted
and run again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from argosy.cli.client import Client, Unreachable, meant
from argosy.cli.cluster import UNITS, View, machines, units
from argosy.cli.progress import Progress
from argosy.cli.rolling.groups import Group
from argosy.cli.rolling.health import Asked, Scene, asked_now, health
from argosy.cli.rolling.plan import (
    LOOK,
    Finish,
    Health,
    Items,
    Restore,
    Rules,
    Stage,
    Touch,
    Verdict,
    Wait,
    begin,
    begun,
    broken,
    plan,
    seen,
)
from argosy.cli.rolling.wanted import Change
from argosy.cli.wire import query
from argosy.errors import ArgosyError, StoreUnavailable

AWAY = (StoreUnavailable, Unreachable)
"""The cluster gives no answer now, and may have done what it was asked."""

APPS_AT_ONCE = 200
"""Apps that one question names: if there are more, all routes are asked for."""

UNSEEN = Health(Verdict.WAITING, "what it was told has not been seen yet")


class Report(msgspec.Struct, frozen=True):
    """What came of it. `units` are those of the groups, in the order in which they were on."""

    good: bool
    reason: str
    items: Items
    interrupted: bool = False

    def having(self, *stages: Stage) -> list[str]:
        return [item.name for item in self.items if item.stage in stages]


class Rollout:
    """`run` once. `changes` are by unit, those without one are only looked at. `say` hears of each step, in a sentence."""

    def __init__(
        self,
        client: Client,
        groups: Sequence[Group],
        changes: Mapping[str, Change],
        rules: Rules,
        say: Callable[[str], None],
        *,
        progress: Progress | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._groups = {group.name: group for group in groups}
        self._changes = changes
        self._rules = rules
        self._say = say
        self._progress = progress or Progress(monotonic)
        self._monotonic = monotonic
        self._sleep = sleep
        self._names = list(dict.fromkeys(name for group in groups for name in (*group.units, *group.followers)))
        self._apps = sorted({app for group in groups for app, _ in group.routes})
        self._asked: dict[str, Asked] = {}
        self._revisions: dict[str, int] = {}
        self._scene = Scene({})
        self._index = 0
        self._items: Items = ()

    def run(self) -> Report:
        """Raises what the first look raises; after that, a cluster that does not answer is waited for as long as a group may take."""
        try:
            with self._progress:
                self._look(0.0)
                for group in self._groups.values():
                    self._asked[group.name] = asked_now(group, self._scene, {}, {})
                already = [group.name for group in self._groups.values() if not any(name in self._changes for name in group.units)]
                self._move(begin(self._health(), already, self._monotonic()))
                return self._roll()
        except KeyboardInterrupt:
            return Report(False, "interrupted", self._items, interrupted=True)

    def _roll(self) -> Report:
        while True:
            now = self._monotonic()
            self._move(seen(self._items, self._health(), self._rules, now))
            for action in plan(self._items, self._rules, now):
                match action:
                    case Touch():
                        self._tell(self._groups[action.name], action.reason, back=False)
                    case Restore():
                        self._tell(self._groups[action.name], action.reason, back=True)
                    case Wait():
                        self._progress.say(action.reason)
                        self._look_on(action.pause)
                    case Finish():
                        return Report(action.good, action.reason, self._items)

    # ---------------------------------------------------------------- looking

    def _health(self) -> dict[str, Health]:
        return {
            name: health(group, self._asked[name], self._scene) if self._current(group) else UNSEEN for name, group in self._groups.items()
        }

    def _current(self, group: Group) -> bool:
        """Whether what was seen is no older than what the group was told."""
        return all(
            self._scene.units[name].get("revision", 0) >= self._revisions.get(name, 0) for name in group.units if name in self._scene.units
        )

    def _look(self, pause: float) -> None:
        """The cluster now, or as soon as something about the units has changed, `pause` seconds later at the latest."""
        found, self._index = units(self._client, self._names, self._index, pause)
        asked = [("app", app) for app in self._apps] if len(self._apps) <= APPS_AT_ONCE else []
        routers = self._client.ask("GET", "/routes" + query(asked))["routers"] if self._apps else []
        known = self._scene.machines
        if not known or any(place["machine"] not in known for unit in found for place in unit.get("places", [])) or pause >= 0.5:
            known = machines(self._client)
        self._scene = Scene({unit["name"]: unit for unit in found}, routers, known)

    def _look_on(self, pause: float) -> None:
        """The same; a cluster that does not answer shows nothing new, and the groups' time runs."""
        try:
            self._look(pause)
        except AWAY as error:
            self._progress.say(error.message)
            self._index = 0
            self._sleep(pause)

    def _move(self, items: Items) -> None:
        """Takes new items, telling of those that came to another stage."""
        before = {item.name: item for item in self._items}
        self._items = items
        for item in items:
            old = before.get(item.name)
            if old is None or old.stage is item.stage:
                continue
            took = f" after {self._monotonic() - old.told:.1f} s" if old.told else ""
            if item.stage in (Stage.READY, Stage.RESTORED):
                what = "healthy again" if item.stage is Stage.READY else "healthy again with what it was before"
                count = sum(other.stage in (Stage.READY, Stage.SKIPPED, Stage.RESTORED) for other in items)
                self._say(f"{item.name}: {what}{took} ({count} of {len(items)})")
            elif item.stage in (Stage.FAILED, Stage.LOST):
                self._say(f"{item.name}: failed{took}: {item.reason}")
            elif item.stage is Stage.CHANGING and old.stage in (Stage.READY, Stage.SKIPPED):
                self._say(f"{item.name}: no longer healthy: {item.reason}")

    # ---------------------------------------------------------------- telling

    def _tell(self, group: Group, reason: str, *, back: bool) -> None:
        changed = [self._changes[name] for name in group.units if name in self._changes]
        self._say(f"{group.name}: {_deed(changed, back)}, {reason}")
        hashes = {change.name: change.before_hash if back else change.hash for change in changed if change.text}
        before = self._scene
        self._move(begun(self._items, group.name, self._monotonic(), restoring=back))
        launches: dict[str, int] = {}
        left, refusal = self._write(changed, back, launches)
        if refusal is not None:
            touched = len(left) < len(changed) or isinstance(refusal, AWAY)
            self._move(broken(self._items, group.name, _words(refusal), touched=touched))
            return
        self._asked[group.name] = asked_now(group, before, launches, hashes)
        self._look_on(0.0)

    def _write(self, changed: Sequence[Change], back: bool, launches: dict[str, int]) -> tuple[Sequence[Change], ArgosyError | None]:
        """What is not written, and why it is refused; `launches` are filled with those that were told. A cluster that does not answer is
        asked again, for as long as a group may take: what it was told before may be written all the same, and is looked for then."""
        ends = self._monotonic() + self._rules.timeout
        before = self._scene
        left, refusal = self._post(changed, back, launches)
        away = isinstance(refusal, AWAY)
        while away and left and refusal is not None:
            if isinstance(refusal, AWAY):
                if self._monotonic() >= ends:
                    break
                self._progress.say(refusal.message)
                self._sleep(LOOK)
            self._look_on(0.0)
            still = [change for change in left if not self._found(change, before, back, launches)]
            if not isinstance(refusal, AWAY) and len(still) == len(left):
                break
            left, refusal = self._post(still, back, launches) if still else ([], None)
        return left, refusal

    def _post(self, changed: Sequence[Change], back: bool, launches: dict[str, int]) -> tuple[Sequence[Change], ArgosyError | None]:
        """The same of one try."""
        try:
            results = self._client.ask("POST", UNITS, {"units": [self._wish(change, back) for change in changed]})["results"]
        except ArgosyError as error:
            return changed, error
        left = []
        refusals = []
        for change, result in zip(changed, results, strict=True):
            if result.get("error"):
                left.append(change)
                refusals.append(meant(result["error"]["code"], result["error"]))
            else:
                self._told(change, result, launches)
        return left, min(refusals, key=lambda refusal: isinstance(refusal, AWAY), default=None)

    def _told(self, change: Change, written: View, launches: dict[str, int]) -> None:
        self._revisions[change.name] = written.get("revision", 0)
        if change.restarts:
            launches[change.name] = written.get("launch", 0)

    def _found(self, change: Change, before: Scene, back: bool, launches: dict[str, int]) -> bool:
        """Whether the unit is seen to stand as it was told, though no answer said so: then that is learnt."""
        unit, old = self._scene.units.get(change.name), before.units.get(change.name, {})
        if unit is None or unit.get("revision", 0) <= self._revisions.get(change.name, change.revision):
            return False
        as_told = (
            unit.get("hash", "") == (change.before_hash if back else change.hash) if change.text else unit.get("hash") == old.get("hash"),
            unit.get("target") == old.get("target"),
            unit.get("launch", 0) == old.get("launch", 0) + change.restarts,
        )
        if all(as_told):
            self._told(change, unit, launches)
        return all(as_told)

    def _wish(self, change: Change, back: bool) -> dict[str, Any]:
        """On the condition that nobody else has written the unit since it was chosen, or since this run wrote it."""
        wish: dict[str, Any] = {"name": change.name, "revision": self._revisions.get(change.name, change.revision)}
        if change.text:
            wish |= {"text": change.before if back else change.text, "replace": True}
        if change.restarts:
            wish["restart"] = True
        return wish


def _words(error: ArgosyError) -> str:
    return f"{error.message} ({error.remedy})" if error.remedy else error.message


def _deed(changed: Sequence[Change], back: bool) -> str:
    names = " and ".join(change.name for change in changed[1:])
    along = f" (with {names})" if names else ""
    if not any(change.text for change in changed):
        return f"restarting{along}"
    return f"putting its old text back{along}" if back else f"updating{along}"
