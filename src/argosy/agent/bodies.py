"""What an agent must know of a workload's body, by the kind of workload. A further kind is one entry in `BODIES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from argosy.model import UNIT, Placement
from argosy.requirements import NOTHING, Requirements
from argosy.unit.text import unit_text


class Body(Protocol):
    """`hash` is the one that the kind's runtime reports for the body. `oneshot`: it ends by itself. `retries`: a failure is answered by
    another attempt."""

    @property
    def hash(self) -> str: ...
    @property
    def oneshot(self) -> bool: ...
    @property
    def retries(self) -> bool: ...

    def requirements(self, name: str) -> Requirements: ...

    def dependencies(self, name: str, key: str) -> Sequence[str]:
        """The workloads that this one lists under After or Before."""
        ...


class Opaque:
    """A body of which nothing is known but its hash."""

    oneshot = False
    retries = True

    def __init__(self, text: str) -> None:
        self.hash = sha256(text.encode(errors="replace")).hexdigest()

    def requirements(self, name: str) -> Requirements:
        return NOTHING

    def dependencies(self, name: str, key: str) -> Sequence[str]:
        return ()


BODIES: Mapping[str, Callable[[str], Body]] = {UNIT: unit_text}

_opaque = lru_cache(maxsize=4096)(Opaque)


def body(placement: Placement) -> Body:
    """Return what the body of a placement says."""
    return BODIES.get(placement.kind, _opaque)(placement.text)
