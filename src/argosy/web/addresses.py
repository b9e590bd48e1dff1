"""Addresses that a listener of the API may have."""

from __future__ import annotations

import ipaddress
import logging

from argosy.config import Config
from argosy.errors import InvalidInput
from argosy.web.listeners import split_address

log = logging.getLogger(__name__)

DOOR_PORT = 8700


def loopback(address: str) -> tuple[str, int]:
    """The same for an address that plain HTTP may be spoken on. Raises InvalidInput for any that is not on loopback."""
    host, port = split_address(address)
    try:
        inside = ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = host == "localhost"
    if not inside:
        raise InvalidInput(
            f"[api] listen {address}: plain HTTP is served on loopback only",
            remedy="set up [tls]: other machines ask the door of [api] door",
        )
    return host, port


def named(address: str) -> tuple[str, int]:
    """The same for the keys door, which speaks plain HTTP to containers and sidekicks: the operator names each address that it listens on.
    Raises InvalidInput for one that would mean all of them."""
    host, port = split_address(address)
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = host in ("", "*")
    if everywhere:
        raise InvalidInput(
            f"[keys] listen {address}: plain HTTP is not served on every address",
            remedy="name loopback; for containers set bridges, such as docker0",
        )
    return host, port


def door_address(config: Config) -> tuple[str, int] | None:
    """Where the door for other machines is: what the operator says, or the machine's address where there are certificates."""
    if config.api.door == "none" or not config.tls.ca:
        if config.api.door not in ("", "none"):
            raise InvalidInput(f"[api] door {config.api.door} needs certificates", remedy="make them with argosy ca and name them in [tls]")
        return None
    if config.api.door:
        return split_address(config.api.door)
    if not config.machine.address:
        log.warning("there is no door for other machines: neither [api] door nor [machine] address says where it should be")
        return None
    return config.machine.address, DOOR_PORT
