"""What the verbs share: the agent that is asked, --json, and the endpoint."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from argosy.cli.client import Client, endpoints

P = ParamSpec("P")
R = TypeVar("R")


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


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)
