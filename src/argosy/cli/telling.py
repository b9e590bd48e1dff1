"""Telling the cluster what is wished of units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from argosy.api.shapes import BATCH, Batch, BatchAnswer, NamedWish, Written
from argosy.cli.client import Client, meant
from argosy.cli.cluster import UNITS
from argosy.cli.failing import complain
from argosy.errors import ArgosyError
from argosy.model import Target
from argosy.terminal import echo


class Wishes(NamedTuple):
    """`wishes` in order; `warnings` and `notes` are for the person."""

    wishes: list[NamedWish]
    warnings: list[str]
    notes: list[str]


def plain(names: Iterable[str], *, target: Target | None = None, restart: bool = False) -> Wishes:
    """The same wish for each unit, without a text."""
    return Wishes([NamedWish(name=name, target=target, restart=restart) for name in names], [], [])


def tell(client: Client, wishes: Wishes) -> tuple[dict[str, Written], list[ArgosyError]]:
    """Sends wishes; what was written by name, and what was refused. Raises the refusal if there is nothing else."""
    for line in wishes.warnings:
        echo(line, err=True)
    for line in wishes.notes:
        echo(line)
    written: dict[str, Written] = {}
    refused: list[ArgosyError] = []
    for start in range(0, len(wishes.wishes), BATCH):
        for result in client.request(BatchAnswer, "POST", UNITS, Batch(wishes.wishes[start : start + BATCH])).results:
            if result.error:
                refused.append(_named(result.name, meant(result.error)))
            else:
                written[result.name] = result
    if refused and not written and len(refused) == 1:
        raise refused[0]
    for error in refused:
        complain(error)
    return written, refused


def _named(name: str, error: ArgosyError) -> ArgosyError:
    """The error, naming the unit if it does not: several may have been sent."""
    return error if name in error.message else type(error)(f"unit {name}: {error.message}", remedy=error.remedy)
