"""argosy journal: a unit's log, from whichever machine it is on."""

from __future__ import annotations

import click

from argosy.cli.client import Client
from argosy.cli.cluster import unit_path
from argosy.cli.completing import complete_machines
from argosy.cli.names import named
from argosy.cli.page import log_lines
from argosy.cli.session import asks, json_option, show_json, unit_argument
from argosy.cli.wire import query
from argosy.errors import ArgosyError
from argosy.model import LogLine
from argosy.terminal import content, echo


@click.command()
@unit_argument
@click.option("--lines", "-n", default=10, show_default=True, type=click.IntRange(0, 10000), help="How many of the last lines.")
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines as they come, until Ctrl-C.")
@click.option(
    "--output",
    "-o",
    type=click.Choice(["short", "cat", "json"]),
    default="short",
    show_default=True,
    help="cat: the bare lines; json: one each.",
)
@click.option("--machine", shell_complete=complete_machines, help="Which machine's, for a unit that is on several.")
@click.option("--sudo", is_flag=True, hidden=True)
@click.option("--ssh-port", hidden=True)
@json_option
@asks
def journal(
    client: Client, word: str, lines: int, follow: bool, output: str, machine: str | None, sudo: bool, ssh_port: str | None, as_json: bool
) -> None:
    """Print the last lines of UNIT's log, from whichever machine it is on.

    Example: argosy journal -f hello
    """
    name = named(word)
    form = "json" if as_json else output
    asked = [("lines", str(lines)), *([("follow", "true")] if follow else []), *([("machine", machine)] if machine else [])]
    try:
        for line in client.stream(LogLine, unit_path(name, "journal") + query(asked)):
            if line.error:
                raise ArgosyError(line.error, remedy=f"argosy journal {name} asks again")
            if form == "json":
                show_json(line, indent=None)
            elif form == "cat":
                content(line.text + "\n")
            else:
                echo(*log_lines(line, name))
        if follow:
            raise ArgosyError(f"the log of {name} has ended", remedy=f"it may have moved: argosy journal -f {name} asks again")
    except KeyboardInterrupt:
        return
