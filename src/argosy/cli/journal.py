"""argosy journal: a unit's log, from whichever machine it is on."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import click

from argosy.cli.client import Client, segment
from argosy.cli.names import known
from argosy.cli.session import asks, json_option
from argosy.cli.status import log_line
from argosy.cli.waiting import UNITS
from argosy.errors import ArgosyError


@click.command()
@click.argument("unit")
@click.option("--lines", "-n", default=10, show_default=True, type=click.IntRange(0, 10000), help="How many of the last lines.")
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines as they come.")
@click.option("--output", "-o", type=click.Choice(["short", "cat", "json"]), default="short", show_default=True)
@click.option("--machine", help="Which machine's, for a unit that is on several.")
@click.option("--sudo", is_flag=True, hidden=True)
@click.option("--ssh-port", hidden=True)
@json_option
@asks
def journal(
    client: Client, unit: str, lines: int, follow: bool, output: str, machine: str | None, sudo: bool, ssh_port: str | None, as_json: bool
) -> None:
    """Print UNIT's log."""
    name = known([unit])[0].name
    query = {"lines": lines, **({"follow": "true"} if follow else {}), **({"machine": machine} if machine else {})}
    form = "json" if as_json else output
    try:
        for line in client.stream("GET", f"{UNITS}/{segment(name)}/journal?{urlencode(query)}"):
            if line.get("error"):
                raise ArgosyError(line["error"])
            click.echo(json.dumps(line) if form == "json" else line.get("text", "") if form == "cat" else log_line(line, name))
    except KeyboardInterrupt:
        return
