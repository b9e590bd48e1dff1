"""What the verbs share: the agent that is asked, the options of lists, and their arguments with what completes them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import click
import msgspec

from argosy.cli.client import Client, endpoints
from argosy.cli.completing import complete_machines, complete_units
from argosy.terminal import echo_json

P = ParamSpec("P")
R = TypeVar("R")
Verb = Callable[..., Any]


def asks(function: Callable[Concatenate[Client, P], R]) -> Callable[P, R]:
    """Gives the verb its first argument: a Client of the endpoint that the main command was given."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(connect(), *args, **kwargs)

    return wrapped


def connect() -> Client:
    context = click.get_current_context(silent=True)
    given = context.find_root().params.get("endpoint") if context else None
    return Client(endpoints(given))


def json_option(function: Verb) -> Verb:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)


def show_json(value: object, indent: int | None = 2) -> None:
    """Print what the API answered, as it says it."""
    echo_json(msgspec.to_builtins(value), indent)


def list_options(known: Sequence[str], default: Sequence[str]) -> Callable[[Verb], Verb]:
    """fleetctl's options of lists."""

    def decorate(function: Verb) -> Verb:
        shown = f"Columns, separated by commas, of: {', '.join(known)}.  [default: {','.join(default)}]"
        function = click.option("--fields", metavar="FIELD,...", help=shown)(function)
        function = click.option("--no-legend", is_flag=True, help="Print no headings.")(function)
        return click.option("--full", "-l", is_flag=True, help="Do not shorten ids and hashes.")(function)

    return decorate


def unit_arguments(function: Verb) -> Verb:
    """UNIT..., one or more."""
    return click.argument("words", metavar="UNIT...", nargs=-1, required=True, shell_complete=complete_units)(function)


def unit_argument(function: Verb) -> Verb:
    return click.argument("word", metavar="UNIT", shell_complete=complete_units)(function)


def machine_argument(function: Verb) -> Verb:
    return click.argument("machine", metavar="MACHINE", shell_complete=complete_machines)(function)
