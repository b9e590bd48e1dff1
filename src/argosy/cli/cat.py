"""argosy cat: a unit file as it was submitted, byte for byte."""

from __future__ import annotations

import click

from argosy.api.shapes import UnitAnswer
from argosy.cli.client import Client
from argosy.cli.cluster import unit_path
from argosy.cli.names import known
from argosy.cli.session import asks, unit_arguments
from argosy.terminal import content


@click.command()
@unit_arguments
@asks
def cat(client: Client, words: tuple[str, ...]) -> None:
    """Print unit files as they were submitted, byte for byte; on a terminal
    with control characters escaped.

    Example: argosy cat hello > hello.service
    """
    for name in known(words):
        text = client.get(UnitAnswer, unit_path(name)).unit.text
        content(text)
