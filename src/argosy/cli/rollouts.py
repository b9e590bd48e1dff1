"""argosy rollouts and argosy rollout: what is being rolled out, and by whom it is paused, resumed or ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from argosy.api.shapes import RolloutAnswer, RolloutChange, RolloutList, RolloutView
from argosy.cli.client import Client
from argosy.cli.completing import complete_rollouts
from argosy.cli.following import ROLLOUTS, SUMS, follow, having, rollout_path
from argosy.cli.session import asks, json_option, list_options, show_json
from argosy.cli.table import chosen, show, span
from argosy.model import RolloutWish
from argosy.terminal import echo

FIELDS = ("rollout", "state", "units", "age", "reason")

SETTLED = ("ready", "skipped", "restored")

WISHES = {
    "run": "goes on",
    "pause": "begins nothing new; what is on its way is waited for",
    "abort": "ends where it is",
    "rollback": "goes back",
}


@click.command()
@list_options(FIELDS, FIELDS)
@json_option
@asks
def rollouts(client: Client, full: bool, no_legend: bool, fields: str | None, as_json: bool) -> None:
    """List rollouts: those under way, and the last that have ended.

    Example: argosy rollouts
    """
    columns = chosen(fields, FIELDS, FIELDS)
    found = client.get(RolloutList, ROLLOUTS).rollouts
    if as_json:
        show_json(found)
        return
    rows = [_row(rollout, full) for rollout in found]
    show([[row[column] for column in columns] for row in rows], None if no_legend else columns)


def _row(rollout: RolloutView, full: bool) -> dict[str, str]:
    reason = rollout.reason
    return {
        "rollout": rollout.name,
        "state": rollout.state,
        "units": f"{len(having(rollout, *SETTLED))} of {len(rollout.groups)}",
        "age": span(time.time() - rollout.created),
        "reason": reason if full or len(reason) <= 80 else f"{reason[:77]}...",
    }


def _wish_options(function: Callable[..., Any]) -> Callable[..., Any]:
    function = click.option("--rollback", is_flag=True, help="With --abort: put back what was changed.")(function)
    function = click.option("--abort", is_flag=True, help="End it: what is on its way is waited for, nothing new is begun.")(function)
    function = click.option("--resume", is_flag=True, help="Go on.")(function)
    return click.option("--pause", is_flag=True, help="Begin nothing new until it is resumed.")(function)


@click.command()
@click.argument("name", metavar="ROLLOUT", shell_complete=complete_rollouts)
@_wish_options
@click.option("--follow", "-f", "following", is_flag=True, help="Print each step until it has ended.")
@json_option
@asks
def rollout(client: Client, name: str, pause: bool, resume: bool, abort: bool, rollback: bool, following: bool, as_json: bool) -> None:
    """Show a rollout and its steps; pause, resume or end it.

    Example: argosy rollout hello-1 --abort --rollback
    """
    if pause + resume + abort > 1 or (rollback and not abort):
        raise click.UsageError("give one of --pause, --resume and --abort; --rollback goes with --abort")
    wish = "pause" if pause else "run" if resume else "rollback" if rollback else "abort" if abort else ""
    if wish:
        client.request(RolloutAnswer, "PUT", rollout_path(name), RolloutChange(RolloutWish(wish)))
        if not as_json:
            echo(f"rollout {name} {WISHES[wish]}")
    if following:
        sys.exit(follow(client, name, f"argosy rollout {name} shows its steps.", as_json=as_json))
    found = client.get(RolloutAnswer, rollout_path(name)).rollout
    if as_json:
        show_json(found)
    elif not wish:
        _show(found)


def _show(rollout: RolloutView) -> None:
    now = time.time()
    ended = f", ended {span(now - rollout.ended)} ago" if rollout.ended else ""
    echo(f"{rollout.name}: {rollout.state}, asked for {span(now - rollout.created or now)} ago{ended}")
    if rollout.reason:
        echo(f"  {rollout.reason}")
    for what, stages in SUMS:
        names = having(rollout, *stages)
        if names:
            echo(f"  {what}: {', '.join(names)}")
    for step in rollout.steps:
        echo(f"  {time.strftime('%H:%M:%S', time.localtime(step.at))} {step.text}")
