"""The Runtime contract on a real systemd: booted in a full machine, the suite runs inside it, for the system's manager and a user's own."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.lab.lab import Lab
from tests.contracts.runtime_contract import ENDINGS, RuntimeContract
from tests.lab.conftest import raised

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
SUITE = "tests/contracts/on_systemd.py"


@pytest.fixture(scope="module")
def machine() -> Iterator[Lab]:
    """One full machine."""
    yield from raised("nspawn", machines=1, entry="")


def test_the_runtime_contract_holds_on_a_booted_systemd(machine: Lab) -> None:
    pytest_inside = f"{sys.executable} -m pytest -q -p no:cacheprovider --basetemp=/tmp/contract {SUITE}"
    done = asyncio.run(machine.exec("m1", ["sh", "-c", f"cd {ROOT} && exec {pytest_inside}"], timeout=350))
    assert done.code == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    passed = re.search(r"^(\d+) passed in", done.stdout, re.MULTILINE)
    assert passed, done.stdout[-2000:]
    contract = sum(name.startswith("test_") for name in dir(RuntimeContract))
    assert int(passed[1]) >= 2 * (contract + len(ENDINGS)), "both managers ran the whole suite"
