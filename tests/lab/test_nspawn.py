"""Full machines pass the lab's contract, and some things that only full machines can do."""

from __future__ import annotations

import pytest

from argosy.lab.base import Driver
from argosy.lab.nspawn import NspawnDriver
from tests.contracts.lab_contract import LabContract
from tests.lab.conftest import need_full_machines


@pytest.mark.xdist_group("lab")
class TestNspawn(LabContract):
    @classmethod
    def make_driver(cls) -> Driver:
        need_full_machines()
        return NspawnDriver()
