"""Labs for scenarios: one per kind of machine and module, with a name of this run's own, removed at the end whatever happens."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
from collections.abc import Iterator

import pytest

from argosy.lab import dockerd, host
from argosy.lab.etc import has_docker
from argosy.lab.lab import Lab

pytest.register_assert_rewrite("tests.contracts.lab_contract")

TTL = 3.5
"""Short, so that scenarios need not wait long for a lost machine."""


@functools.cache
def why_no_full_machines() -> str:
    return "; ".join(asyncio.run(host.obstacles()))


def need_full_machines() -> None:
    """Skips, with the host check's own words, where full machines cannot be booted."""
    if reason := why_no_full_machines():
        pytest.skip(f"this host cannot boot full machines: {reason}")


def need_containers() -> None:
    """The same where full machines would have no Docker, or this host could build no images. Blocks."""
    need_full_machines()
    if lacking := [*dockerd.obstacles(), *([] if has_docker() else ["Docker is not installed"])]:
        pytest.skip("; ".join(lacking))


def new_name() -> str:
    return f"t{os.getpid()}-{secrets.token_hex(3)}"


def raised(kind: str, machines: int = 3, entry: str | None = None) -> Iterator[Lab]:
    """A lab that is up and ready; gone afterwards."""
    if kind == "nspawn":
        need_full_machines()
    lab = Lab(new_name())
    try:
        asyncio.run(lab.up(machines, light=kind == "process", ttl=TTL, entry=entry))
        yield lab
    finally:
        asyncio.run(lab.down())


@pytest.fixture(scope="module", params=["nspawn", "process"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Three machines, once as full ones and once as process machines; what a test breaks, it mends."""
    yield from raised(request.param)


@pytest.fixture(scope="module")
def full_lab() -> Iterator[Lab]:
    """Three full machines."""
    yield from raised("nspawn")


@pytest.fixture(scope="module")
def light_lab() -> Iterator[Lab]:
    """Three process machines."""
    yield from raised("process")
