"""argosy start: start units and wait until they run."""

from __future__ import annotations

import sys

import click
import msgspec

from argosy.cli.client import Client
from argosy.cli.cluster import units
from argosy.cli.files import given, with_needed
from argosy.cli.outcome import needs_launch, started
from argosy.cli.session import asks, unit_arguments
from argosy.cli.waiting import bring, waits
from argosy.cli.wishes import wishes_for
from argosy.model import Target


@click.command()
@unit_arguments
@click.option("--replace", is_flag=True, help="Replace units that the cluster knows with another text.")
@waits
@asks
def start(client: Client, words: tuple[str, ...], replace: bool, no_block: bool, block_attempts: int) -> None:
    """Start units, wait until they run, and say where each went; or, if it went nowhere or failed, why.

    UNIT is a name or a file: a file is submitted first if the cluster does not know the unit. An instance such as hello@1 takes its text
    from hello@.service, in the cluster or in this folder. A unit that has failed or ended is started anew, unless it is a job that
    finished.

    Example: argosy start hello.service worker@{1..3}
    """
    wishes = wishes_for(client, "start", with_needed(given(words)), replace=replace, target=Target.LAUNCHED)
    known, _ = units(client, [wish.name for wish in wishes.wishes])
    resting = {unit.name for unit in known if needs_launch(unit)}
    wishes = wishes._replace(wishes=[msgspec.structs.replace(wish, restart=wish.name in resting) for wish in wishes.wishes])
    sys.exit(
        bring(
            client,
            "start",
            wishes,
            lambda unit, written, machines: started(unit, written.launch, machines),
            no_block=no_block,
            attempts=block_attempts,
        )
    )
