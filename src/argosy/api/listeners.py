"""Addresses that a door may have, and sockets that listen there. What blocks is called in threads."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
import stat
import tempfile
from pathlib import Path

from argosy.config import Config
from argosy.errors import InvalidInput, Unsuitable

log = logging.getLogger(__name__)

SOCKET_MODE = 0o660
DOOR_PORT = 8700
LONGEST_SOCKET_PATH = 107
"""Linux's limit."""


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT, [IPV6]:PORT. Raises InvalidInput."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InvalidInput(f"{address!r} is no address to listen on", remedy="write HOST:PORT, such as 127.0.0.1:8700")
    return host.removeprefix("[").removesuffix("]"), int(port)


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


def shown(listener: socket.socket) -> str:
    """HOST:PORT of a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tcp_listener(host: str, port: int) -> socket.socket:
    """Raises Unsuitable for an address that is taken or not this machine's."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Unsuitable(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise Unsuitable(f"cannot listen on {host}:{port}: {error.strerror}", remedy="is another argosy running here?") from error
    return listener


def unix_listener(path: Path) -> socket.socket:
    """A socket at `path` that only its owner and group may use. One that is left over from a dead process is replaced; one that somebody
    answers on is not. Raises Unsuitable."""
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise Unsuitable(f"cannot listen on {path}: a socket's path has at most {LONGEST_SOCKET_PATH} bytes", remedy="set [paths] run")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        return _bound(path)
    except OSError as error:
        raise Unsuitable(f"cannot listen on {path}: {error.strerror or error}") from error


def _bound(path: Path) -> socket.socket:
    """The socket is made in a folder of its own, so that nobody finds it before its mode is set."""
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        made = Path(folder, "s")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.bind(str(made))
            made.chmod(SOCKET_MODE)
            made.rename(path)
        except BaseException:
            listener.close()
            raise
    return listener


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Unsuitable(f"cannot listen on {path}: there is a file that is no socket", remedy="move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        refused = probe.connect_ex(str(path))
    if refused not in (errno.ECONNREFUSED, errno.ENOENT):
        raise Unsuitable(f"cannot listen on {path}: somebody answers there", remedy="is another argosy agent running here?")
    path.unlink(missing_ok=True)


def unlink_own(path: str, inode: int) -> None:
    """Removes the socket at `path` if it is still the one that was made."""
    try:
        if os.stat(path).st_ino == inode:
            os.unlink(path)
    except FileNotFoundError:
        pass
