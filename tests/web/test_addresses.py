"""Addresses that may be listened on."""

from __future__ import annotations

import pytest

from argosy.errors import InvalidInput
from argosy.web.addresses import split_address
from argosy.web.listeners import Tcp, loopback, named


@pytest.mark.parametrize("address", ["127.0.0.1:8700", "127.9.9.9:1", "[::1]:8700", "localhost:8700"])
def test_plain_http_is_for_loopback(address: str) -> None:
    assert loopback(address, "[api] listen") == Tcp(*split_address(address))


@pytest.mark.parametrize("address", ["0.0.0.0:8700", "10.0.0.1:8700", "[::]:8700", "example.com:80", ":8700"])
def test_plain_http_is_refused_anywhere_else(address: str) -> None:
    with pytest.raises(InvalidInput, match="loopback only"):
        loopback(address, "[api] listen")


@pytest.mark.parametrize("address", ["0.0.0.0:4001", "[::]:4001", ":4001", "*:4001"])
def test_plain_http_is_not_served_everywhere(address: str) -> None:
    with pytest.raises(InvalidInput, match=r"\[keys\] listen"):
        named(address, "[keys] listen")
    assert named("172.17.0.1:4001", "[keys] listen") == Tcp("172.17.0.1", 4001)


@pytest.mark.parametrize("address", ["", "8700", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(InvalidInput, match="no address"):
        split_address(address)
