"""Which of the machines that no filter refused: the first in the order of its rank.

A rank is a tuple that ends in the machine's id, so that no two are equal. It may only get worse by a unit placed on the machine; when a
unit leaves, the machine is offered again (`Cluster.improved`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Rank = tuple[int, str]


class Ranked(Protocol):
    """What a strategy may look at."""

    @property
    def id(self) -> str: ...

    @property
    def units(self) -> dict[str, None]: ...


Strategy = Callable[[Ranked], Rank]


def fewest_units(machine: Ranked) -> Rank:
    """The machine with the fewest units; the lowest id on a tie (fleet's rule)."""
    return (len(machine.units), machine.id)
