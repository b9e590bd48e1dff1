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


def join_address(host: str, port: int | str) -> str:
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
