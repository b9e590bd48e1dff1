"""Process machines pass the lab's contract."""

from __future__ import annotations

import pytest

from argosy.lab.base import Driver
from argosy.lab.process import ProcessDriver
from tests.contracts.lab_contract import LabContract


@pytest.mark.xdist_group("lab")
class TestProcess(LabContract):
    @classmethod
    def make_driver(cls) -> Driver:
        return ProcessDriver()
