"""argosy submit: tell the cluster unit files."""

from __future__ import annotations

import sys

import click

from argosy.cli.client import Client
from argosy.cli.files import given, with_needed
from argosy.cli.session import asks
from argosy.cli.telling import tell
from argosy.cli.wishes import wishes_for
from argosy.errors import InvalidInput
from argosy.terminal import echo


@click.command()
@click.argument("words", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option("--replace", is_flag=True, help="Replace units that the cluster knows with another text.")
@asks
def submit(client: Client, words: tuple[str, ...], replace: bool) -> None:
    """Tell the cluster unit files, without placing them on a machine. Templates such as hello@.service are submitted so, once for all their
    instances.

    Example: argosy submit hello@.service
    """
    wanted = given(words)
    for unit in wanted:
        if unit.file is None:
            raise InvalidInput(f"no file for {unit.name} in this folder", remedy="name a file that exists")
    needed = [unit for unit in with_needed(wanted) if unit.file is not None]
    written, refused = tell(client, wishes_for(client, "submit", needed, replace=replace))
    for name, unit_written in written.items():
        echo(f"Unit {name} {unit_written.target}")
    sys.exit(int(bool(refused)))
