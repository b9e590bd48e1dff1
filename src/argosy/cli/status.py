"""argosy status: a unit as its machine sees it, as systemctl would show it there."""

from __future__ import annotations

import sys
import time

import click

from argosy.api.shapes import StatusAnswer
from argosy.cli.client import Client
from argosy.cli.cluster import machines, unit_path
from argosy.cli.failing import complain
from argosy.cli.names import known
from argosy.cli.page import page, running
from argosy.cli.session import asks, json_option, show_json, unit_arguments
from argosy.errors import NotFound
from argosy.terminal import echo

NOT_RUNNING = 3
UNKNOWN = 4


@click.command()
@unit_arguments
@click.option("--lines", "-n", default=10, show_default=True, type=click.IntRange(0, 10000), help="Log lines to show.")
@click.option("--ssh-port", hidden=True)
@json_option
@asks
def status(client: Client, words: tuple[str, ...], lines: int, ssh_port: str | None, as_json: bool) -> None:
    """Show units as systemctl would on their machines, with the last lines of their logs, from wherever you are. Exit status 0 if all run,
    3 if one does not, 4 if there is no such unit.

    Example: argosy status hello
    """
    answers = []
    unknown = False
    for name in known(words):
        try:
            answers.append(client.get(StatusAnswer, unit_path(name, f"status?lines={lines}")))
        except NotFound as error:
            unknown = True
            complain(error)
    if as_json:
        show_json(answers[0] if len(words) == 1 and answers else answers)
    elif answers:
        found = machines(client)
        for number, answer in enumerate(answers):
            echo(*([""] if number else []), *page(answer, found, time.time()))
    sys.exit(UNKNOWN if unknown else 0 if all(running(answer) for answer in answers) else NOT_RUNNING)
