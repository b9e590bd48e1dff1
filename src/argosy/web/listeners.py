"""Kinds of listeners, and their sockets. What blocks is called in threads."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
import ssl
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from argosy.errors import InvalidInput, Unsuitable
from argosy.web.addresses import is_loopback, join_address, split_address

log = logging.getLogger(__name__)

SOCKET_MODE = 0o660
LONGEST_SOCKET_PATH = 107
"""Linux's limit."""


class Unix(NamedTuple):
    """A unix socket, for its owner and its group: `group`, or the process's own. Who may connect, may ask: the mode has decided."""

    path: str
    group: int | None = None


class Tcp(NamedTuple):
    """A TCP address; port 0 is any that is free. `tls`: `trust.contexts.server(...)` for mutual TLS, `public(...)` for HTTPS."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


class OnBridges(NamedTuple):
    """Network bridges by device name, for containers: on the port of the first TCP listener of the same name, at the bridges' addresses
    and at the machine's own (`address`)."""

    names: Sequence[str]
    address: str = ""


def loopback(address: str, setting: str, remedy: str = "") -> Tcp:
    """A listener for plain HTTP on HOST:PORT. Raises InvalidInput, which names the setting, for an address
    that is not on loopback."""
    host, port = split_address(address)
    if not is_loopback(host):
        raise InvalidInput(f"{setting} {address}: plain HTTP is served on loopback only", remedy=remedy)
    return Tcp(host, port)


def named(address: str, setting: str, remedy: str = "") -> Tcp:
    """The same for plain HTTP that containers and sidekicks ask too: the operator names each address. Raises InvalidInput for one that
    would mean all of them."""
    host, port = split_address(address)
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = host in ("", "*")
    if everywhere:
        raise InvalidInput(f"{setting} {address}: plain HTTP is not served on every address", remedy=remedy)
    return Tcp(host, port)


def tcp_listener(host: str, port: int) -> socket.socket:
    """A socket that is bound to the address. Raises Unsuitable for one that is taken or not this machine's."""
    try:
        return _bound_tcp(host, port)
    except OSError as error:
        remedy = "is another argosy running here?" if error.errno == errno.EADDRINUSE else ""
        raise Unsuitable(f"cannot listen on {join_address(host, port)}: {error.strerror or error}", remedy=remedy) from error


def why_taken(host: str, port: int) -> OSError | None:
    """What stands in the way of listening at the address ("" and "*": every one), or None."""
    try:
        _bound_tcp("0.0.0.0" if host in ("", "*") else host, port).close()
    except OSError as error:
        return error
    return None


def _bound_tcp(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    if port > 65535:
        raise OSError(errno.EINVAL, f"there is no port {port}")
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def unix_listener(path: Path, group: int | None = None) -> socket.socket:
    """A socket at `path` that only its owner and its group may use: `group`, or the process's own. One that is left over from a dead
    process is replaced; one that somebody answers on is not. Raises Unsuitable."""
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise Unsuitable(f"cannot listen on {path}: a socket's path has at most {LONGEST_SOCKET_PATH} bytes", remedy="set [paths] run")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        return _bound(path, group)
    except OSError as error:
        raise Unsuitable(f"cannot listen on {path}: {error.strerror or error}") from error


def _bound(path: Path, group: int | None) -> socket.socket:
    """The socket is made in a folder of its own, so that nobody finds it before its mode is set."""
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        made = Path(folder, "s")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.bind(str(made))
            if group is not None:
                _give_to(made, group)
            made.chmod(SOCKET_MODE)
            made.rename(path)
        except BaseException:
            listener.close()
            raise
    return listener


def _give_to(path: Path, group: int) -> None:
    try:
        os.chown(path, -1, group)
    except PermissionError:
        log.warning("%s stays with its owner's own group: only root and members of group %d may give it to that", path, group)


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


def unlink_own(path: Path, inode: int) -> None:
    """Removes the socket at `path` if it is still the one that was made."""
    try:
        if os.stat(path).st_ino == inode:
            os.unlink(path)
    except FileNotFoundError:
        pass
