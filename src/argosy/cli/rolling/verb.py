"""What argosy update and argosy restart --rolling share: their options, and how they tell what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from argosy.cli.client import Client
from argosy.cli.cluster import UNITS, View, unit_path
from argosy.cli.rolling.groups import grouped
from argosy.cli.rolling.loop import Report, Rollout
from argosy.cli.rolling.plan import Rules, Stage
from argosy.cli.rolling.wanted import Wanted
from argosy.cli.waiting import INTERRUPTED
from argosy.terminal import echo, echo_json

Verb = Callable[..., Any]


def pace_options(function: Verb) -> Verb:
    """--parallel, --timeout, --steady."""
    steady = click.option(
        "--steady",
        type=click.FloatRange(0, 3600),
        default=2.0,
        show_default=True,
        metavar="S",
        help="Seconds that one must stay healthy before the next is touched.",
    )
    timeout = click.option(
        "--timeout",
        type=click.FloatRange(1, 86_400),
        default=300.0,
        show_default=True,
        metavar="S",
        help="Seconds that one may take to become healthy.",
    )
    parallel = click.option("--parallel", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="N at a time.")
    return parallel(timeout(steady(function)))


def everything(client: Client) -> dict[str, View]:
    """All units with their texts, by name."""
    return {unit["name"]: unit for unit in client.ask("GET", f"{UNITS}?text=true")["units"]}


def roll(client: Client, wanted: Wanted, known: dict[str, View], rules: Rules, again: str, *, as_json: bool) -> int:
    """Does it and tells of it; the exit status. `again` is what to do after a failure, a sentence."""
    texts = {change.name: change.text for change in wanted.changes.values() if change.text}
    groups = grouped(wanted.names, known, texts)
    rollout = Rollout(client, groups, wanted.changes, rules, lambda text: echo(text, err=as_json))
    report = rollout.run() if groups else Report(True, "there is nothing to change", ())
    if report.good:
        for name, text in wanted.templates.items():
            client.ask("PUT", unit_path(name), {"text": text, "replace": True})
            echo(f"{name}: replaced, for instances to come", err=as_json)
    if as_json:
        echo_json(_shown(report, wanted))
    _conclude(report, again, quiet=as_json)
    return INTERRUPTED if report.interrupted else int(not report.good)


def _conclude(report: Report, again: str, *, quiet: bool) -> None:
    if report.good:
        changed, skipped = report.having(Stage.READY), report.having(Stage.SKIPPED)
        already = f"; {_count(skipped)} as wished already" if skipped else ""
        if not quiet:
            echo(f"Done: {_count(changed)} changed and healthy{already}")
        return
    echo(f"Error: {'interrupted' if report.interrupted else report.reason}", err=True)
    for what, stages in SUMS:
        names = report.having(*stages)
        if names:
            echo(f"  {what}: {', '.join(names)}", err=True)
    for name in report.having(Stage.FAILED, Stage.LOST)[:1]:
        echo(f"  argosy status {name} and argosy journal {name} tell more", err=True)
    echo(f"  {again}", err=True)


SUMS = (
    ("changed and healthy", (Stage.READY,)),
    ("as wished already", (Stage.SKIPPED,)),
    ("on the way", (Stage.CHANGING, Stage.RESTORING)),
    ("failed", (Stage.FAILED, Stage.LOST)),
    ("put back", (Stage.RESTORED,)),
    ("not touched", (Stage.WAITING,)),
)


def _count(names: list[str]) -> str:
    return "1 is" if len(names) == 1 else f"{len(names)} are"


def _shown(report: Report, wanted: Wanted) -> dict[str, Any]:
    result = "interrupted" if report.interrupted else "done" if report.good else "failed"
    if not report.good and report.having(Stage.RESTORED) and not report.having(Stage.LOST, Stage.READY):
        result = "rolled-back"
    return {
        "result": result,
        "reason": report.reason,
        "units": [
            {"name": item.name, "stage": item.stage.value, "reason": item.failure or item.reason, "changed": item.touched}
            for item in report.items
        ],
        "templates": sorted(wanted.templates) if report.good else [],
    }
