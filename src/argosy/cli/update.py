"""argosy update: give running units another text, a few at a time."""

from __future__ import annotations

import shlex
import sys

import click

from argosy.cli.client import Client
from argosy.cli.completing import complete_units
from argosy.cli.files import given
from argosy.cli.following import roll
from argosy.cli.names import expanded
from argosy.cli.pace import everything, pace_options
from argosy.cli.rollout_order import updates
from argosy.cli.session import asks, json_option


@click.command()
@click.argument("words", metavar="FILE|UNIT|GLOB...", nargs=-1, required=True, shell_complete=complete_units)
@click.option("--from-template", is_flag=True, help="Take the text of the template in the cluster, not of a file here.")
@click.option(
    "--on-failure",
    type=click.Choice(["stop", "pause", "rollback"]),
    default="stop",
    show_default=True,
    help="Leave it so (pause is an older word for it), or put the old text back where it was changed.",
)
@pace_options
@click.option("--no-block", is_flag=True, help="Do not wait.")
@json_option
@asks
def update(
    client: Client,
    words: tuple[str, ...],
    from_template: bool,
    on_failure: str,
    parallel: int,
    timeout: float,
    steady: float,
    start_first: bool,
    no_block: bool,
    as_json: bool,
) -> None:
    """Give units another text, one after the other: the next is touched only when the last is healthy again, with all that is bound to it
    and its routes. Stops at the first that fails. Run again, it goes on where it stopped. The cluster does it: if the command is
    interrupted, the rollout goes on (see argosy rollouts).

    A template stands for all its instances, and is replaced itself when all are healthy. An instance or a glob takes the text of its file
    or its template's file in this folder, or else of its template in the cluster.

    Example: argosy update hello@.service --on-failure rollback
    """
    known = everything(client)
    wanted = updates(given(expanded(words, known)), known, from_template=from_template)
    named = shlex.join(words)
    again = f"Correct the text and run argosy update {named} again: it goes on where it stopped."
    if wanted.templates:
        again += f" argosy update --from-template {named} puts the text before back."
    if on_failure == "rollback":
        again = f"argosy update {named} tries again."
    rules = {
        "parallel": parallel,
        "timeout": timeout,
        "steady": steady,
        "rollback": on_failure == "rollback",
        "start_first": start_first,
    }
    sys.exit(roll(client, wanted, rules, again, as_json=as_json, no_block=no_block))
