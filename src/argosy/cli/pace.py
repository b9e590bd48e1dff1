"""What argosy update and argosy restart --rolling share: their options, and the units that they choose from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from argosy.api.shapes import UnitList, UnitView
from argosy.cli.client import Client
from argosy.cli.cluster import UNITS

Verb = Callable[..., Any]


def pace_options(function: Verb) -> Verb:
    """--parallel, --timeout, --steady, --start-first."""
    first = click.option(
        "--start-first", is_flag=True, help="Where another machine fits, start the new copy there before the old one stops."
    )
    steady = click.option(
        "--steady",
        type=click.FloatRange(0, 3600),
        default=2.0,
        show_default=True,
        metavar="S",
        help="Seconds that one must stay healthy before the next is touched.",
    )
    timeout = click.option(
        "--timeout",
        type=click.FloatRange(1, 86_400),
        default=300.0,
        show_default=True,
        metavar="S",
        help="Seconds that one may take to become healthy.",
    )
    parallel = click.option(
        "--parallel", type=click.IntRange(min=1, max=1000), default=1, show_default=True, metavar="N", help="N at a time."
    )
    return parallel(timeout(steady(first(function))))


def everything(client: Client) -> dict[str, UnitView]:
    """All units with their texts, by name."""
    return {unit.name: unit for unit in client.get(UnitList, f"{UNITS}?text=true").units}
