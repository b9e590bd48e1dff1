"""Addresses that may be listened on."""

from __future__ import annotations

import ipaddress
import socket

from argosy.errors import InvalidInput


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT, [IPV6]:PORT. Raises InvalidInput."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InvalidInput(f"{address!r} is no address to listen on", remedy="write HOST:PORT, such as 127.0.0.1:8700")
    return host.removeprefix("[").removesuffix("]"), int(port)


def join_address(host: str, port: int) -> str:
    """HOST:PORT, [IPV6]:PORT."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(listener: socket.socket) -> str:
    """HOST:PORT of a TCP socket that listens."""
    return join_address(*listener.getsockname()[:2])


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def loopback(address: str, setting: str, remedy: str = "") -> tuple[str, int]:
    """Host and port of an address that plain HTTP may be spoken on. Raises InvalidInput, which names the setting, for any that is not on
    loopback."""
    host, port = split_address(address)
    if not is_loopback(host):
        raise InvalidInput(f"{setting} {address}: plain HTTP is served on loopback only", remedy=remedy)
    return host, port


def named(address: str, setting: str, remedy: str = "") -> tuple[str, int]:
    """The same for plain HTTP that containers and sidekicks ask too: the operator names each address. Raises InvalidInput for one that
    would mean all of them."""
    host, port = split_address(address)
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = host in ("", "*")
    if everywhere:
        raise InvalidInput(f"{setting} {address}: plain HTTP is not served on every address", remedy=remedy)
    return host, port
