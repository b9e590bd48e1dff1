"""Following a rollout that the engine carries out: each step as it is taken, and at the end what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from argosy.api.shapes import RolloutAnswer, RolloutView
from argosy.cli.client import Client, Unreachable
from argosy.cli.progress import Progress
from argosy.cli.rollout_order import Wanted
from argosy.cli.waiting import INTERRUPTED, LONGEST_READ
from argosy.cli.wire import query, quoted
from argosy.errors import ArgosyError, StoreUnavailable
from argosy.terminal import echo, echo_json

ROLLOUTS = "/rollouts"

AWAY = (StoreUnavailable, Unreachable)
"""The cluster gives no answer now; the rollout goes on."""

RETRY = 0.5
SILENT = 120.0
"""Seconds without an answer after which following ends."""

SUMS = (
    ("changed and healthy", ("ready",)),
    ("as wished already", ("skipped",)),
    ("on the way", ("changing", "restoring")),
    ("failed", ("failed", "lost")),
    ("put back", ("restored",)),
    ("not touched", ("waiting",)),
)


def rollout_path(name: str) -> str:
    return f"{ROLLOUTS}/{quoted(name)}"


class Follower:
    """`until_ended` once. `say` hears of each step, in a sentence."""

    def __init__(
        self,
        client: Client,
        name: str,
        say: Callable[[str], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._path = rollout_path(name)
        self._say = say
        self._monotonic = monotonic
        self._sleep = sleep
        self._progress = Progress(monotonic)
        self._told = 0

    def until_ended(self, index: int = 0) -> RolloutView:
        """The rollout when it has ended. A cluster that does not answer is asked again; raises what it says after SILENT seconds."""
        answered = self._monotonic()
        with self._progress:
            while True:
                try:
                    rollout, index = self._look(index)
                except AWAY as error:
                    if self._monotonic() - answered >= SILENT:
                        raise
                    self._progress.say(error.message)
                    self._sleep(RETRY)
                    continue
                answered = self._monotonic()
                self._tell(rollout)
                if rollout.ended:
                    return rollout
                self._progress.say(rollout.reason)

    def _look(self, index: int) -> tuple[RolloutView, int]:
        wait = (1.0 if self._progress.visible else LONGEST_READ) if index else 0.0
        asked = [("index", str(index)), ("wait", f"{wait:.3f}")] if index else []
        answer = self._client.get(RolloutAnswer, self._path + query(asked), wait + self._client.timeout)
        return answer.rollout, answer.index

    def _tell(self, rollout: RolloutView) -> None:
        """Says the steps that have not been said. Of a rollout that has gone on for long only the newest are known."""
        for step in rollout.steps:
            if step.number > self._told:
                if step.number > self._told + 1:
                    self._say(f"... and {step.number - self._told - 1} steps before")
                self._told = step.number
                self._progress.clear()
                self._say(step.text)


def roll(client: Client, wanted: Wanted, rules: Mapping[str, object], again: str, *, as_json: bool, no_block: bool) -> int:
    """Asks for a rollout and follows it; the exit status. `again` is what to do after a failure, a sentence."""
    if not wanted.names:
        if as_json:
            echo_json({"result": "done", "reason": "there is nothing to change", "units": [], "templates": []})
        else:
            echo("Done: there is nothing to change")
        return 0
    name = client.request(RolloutAnswer, "POST", ROLLOUTS, wanted.order(**rules)).rollout.name
    if no_block:
        echo_json({"rollout": name, "result": "running"}) if as_json else echo(f"rollout {name} has begun; argosy rollout {name} --follow")
        return 0
    return follow(client, name, again, as_json=as_json)


def follow(client: Client, name: str, again: str, *, as_json: bool) -> int:
    """Says each step until the rollout ends; the exit status."""
    try:
        rollout = Follower(client, name, lambda text: echo(text, err=as_json)).until_ended()
    except KeyboardInterrupt:
        if as_json:
            echo_json({"rollout": name, "result": "interrupted"})
        echo(f"Not waiting any longer: rollout {name} goes on. Look again: argosy rollout {name} --follow", err=True)
        echo(f"End it: argosy rollout {name} --abort, or with --rollback to go back", err=True)
        return INTERRUPTED
    except ArgosyError as error:
        echo(f"Error: {error.message}", err=True)
        echo(f"  rollout {name} goes on all the same; argosy rollout {name} --follow looks again", err=True)
        return 1
    if as_json:
        echo_json(summary(rollout))
    return conclude(rollout, again, quiet=as_json)


def having(rollout: RolloutView, *stages: str) -> list[str]:
    return [group.name for group in rollout.groups if group.stage in stages]


def conclude(rollout: RolloutView, again: str, *, quiet: bool) -> int:
    """Says what came of it; the exit status."""
    if rollout.state == "done":
        already = f"; {_count(having(rollout, 'skipped'))} as wished already" if having(rollout, "skipped") else ""
        if not quiet:
            echo(f"Done: {_count(having(rollout, 'ready'))} changed and healthy{already}")
        return 0
    echo(f"Error: {rollout.reason}", err=True)
    for what, stages in SUMS:
        names = having(rollout, *stages)
        if names:
            echo(f"  {what}: {', '.join(names)}", err=True)
    for name in having(rollout, "failed", "lost")[:1]:
        echo(f"  argosy status {name} and argosy journal {name} tell more", err=True)
    echo(f"  {again}", err=True)
    return 1


def summary(rollout: RolloutView) -> dict[str, Any]:
    """A rollout that has ended, for programs."""
    return {
        "rollout": rollout.name,
        "result": rollout.state,
        "reason": rollout.reason,
        "units": [{"name": group.name, "stage": group.stage, "reason": group.reason, "changed": group.changed} for group in rollout.groups],
        "templates": rollout.templates,
    }


def _count(names: list[str]) -> str:
    return "1 is" if len(names) == 1 else f"{len(names)} are"
