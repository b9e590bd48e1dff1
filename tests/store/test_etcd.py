"""The store on a real etcd."""

from __future__ import annotations

from tests.contracts.store_contract import StoreContract
from tests.opened import OnEtcd


class TestEtcd(OnEtcd, StoreContract):
    pass
