"""The Runtime contract on a real systemd: to be run inside a machine that was booted with one (tests/lab does that), as root.

`pytest tests/contracts/on_systemd.py`; it is not collected by itself, for there is no systemd to be had outside such a machine.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.agent.systemd import SystemdRuntime
from tests.contracts.runtime_contract import RuntimeContract
from tests.contracts.runtime_ground import Ground, on_ground


class TestTheSystemsManager(RuntimeContract):
    @pytest.fixture
    async def ground(self, tmp_path: Path) -> AsyncIterator[Ground]:
        folder = Path(f"/run/argosy-test/{uuid.uuid4().hex}")
        async with on_ground(lambda: SystemdRuntime.connect("system", folder), tmp_path) as ground:
            yield ground


@pytest.fixture(scope="session")
def user_bus() -> str:
    """The address of the bus of root's own systemd, which is started for it."""
    subprocess.run(["systemctl", "start", f"user@{os.getuid()}.service"], check=True, timeout=30)
    return f"unix:path=/run/user/{os.getuid()}/bus"


class TestAUsersManager(RuntimeContract):
    @pytest.fixture
    async def ground(self, tmp_path: Path, user_bus: str) -> AsyncIterator[Ground]:
        folder = Path(f"/run/user/{os.getuid()}/argosy-test/{uuid.uuid4().hex}")
        async with on_ground(lambda: SystemdRuntime.connect("user", folder, address=user_bus), tmp_path) as ground:
            yield ground
