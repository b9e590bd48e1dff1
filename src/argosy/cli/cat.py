"""argosy cat: a unit file as it was submitted, byte for byte."""

from __future__ import annotations

import sys

import click

from argosy.cli.client import Client, segment
from argosy.cli.names import known
from argosy.cli.session import asks
from argosy.cli.waiting import UNITS


@click.command()
@click.argument("units", nargs=-1, required=True)
@asks
def cat(client: Client, units: tuple[str, ...]) -> None:
    """Print UNITS' files as they were submitted."""
    for unit in known(units):
        text = client.ask("GET", f"{UNITS}/{segment(unit.name)}")["unit"].get("text", "")
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
