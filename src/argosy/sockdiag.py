"""The kernel's own list of TCP connections: sock_diag(7) over netlink, as `ss` reads it.

`owner_of` says who holds one end of a connection; it needs no right and takes about 20 microseconds. `end_connections` ends some, as
`ss -K` does: it blocks and needs CAP_NET_ADMIN. An ended connection fails with ECONNABORTED for the process that holds it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple

NETLINK_SOCK_DIAG = 4
BY_FAMILY, DESTROY = 20, 21
NLM_REQUEST, NLM_ACK, NLM_DUMP = 0x1, 0x5, 0x301
NLMSG_ERROR, NLMSG_DONE = 2, 3
ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT = 1, 4, 5, 8
TCP_INFO = 2
ANY_COOKIE = b"\xff" * 8

MAPPED = bytes(10) + b"\xff\xff"

_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48s")
_ID = slice(4, 52)
"""struct inet_diag_sockid inside struct inet_diag_msg: source port, destination port, source, destination, interface, cookie."""

_QUEUES = struct.Struct("=II")
_QUEUES_AT, _ATTRIBUTES_AT = 56, 72
_ATTRIBUTE = struct.Struct("=HH")
_SENT_AT, _RECEIVED_AT = 44, 52
"""tcpi_last_data_sent and tcpi_last_data_recv in struct tcp_info: milliseconds ago."""

Target = tuple[str, int]
"""(IP address, port)."""


class Owner(NamedTuple):
    """Who holds a socket. `inode` identifies the socket among those of all processes; 0 means that no process has it open."""

    uid: int
    inode: int
    state: int


def owner_of(near: Target, far: Target, interface: int = 0) -> int | None:
    """Return the uid that holds the end `near` of the TCP connection from `near` to `far`, or None if no process of this network
    namespace does. `interface`: the index that a link-local address belongs to. IPv4 addresses are written as such, not mapped.
    Raises OSError where the kernel has no sock_diag for TCP.

    A socket that its process has closed is reported with uid 0, which is root's: only one that is open counts, and an answer of 0 is
    believed if the socket is still open when asked for again.
    """
    family = socket.AF_INET6 if ":" in near[0] else socket.AF_INET
    ident = b"".join((*(struct.pack("!H", port) for _, port in (near, far)), *(_address(end) for end in (near, far))))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_SOCK_DIAG) as kernel:
        found = _look_up(kernel, family, ident, interface)
        if found is not None and found.uid == 0 and _look_up(kernel, family, ident, interface) != found:
            return None
    return found.uid if found is not None else None


def _look_up(kernel: socket.socket, family: int, ident: bytes, interface: int) -> Owner | None:
    """The open socket with exactly that local and remote address. The kernel answers at once, without a dump."""
    _send(kernel, BY_FAMILY, NLM_REQUEST, family, ident + struct.pack("=I", interface) + ANY_COOKIE)
    for kind, body in _answers(kernel, 4096):
        if kind == NLMSG_ERROR:
            if -struct.unpack_from("=i", body)[0] == errno.ENOENT:
                return None
            _raise(body)
        uid, inode = struct.unpack_from("=II", body, 64)
        owner = Owner(uid, inode, body[1])
        if inode and owner.state in (ESTABLISHED, FIN_WAIT1, FIN_WAIT2) and _unmapped(body[0], body[_ID]) == ident:
            return owner
    return None


def _unmapped(family: int, found: bytes) -> bytes:
    """Ports and addresses of the socket found, those of an IPv6 socket that speaks IPv4 as IPv4 ones."""
    if family == socket.AF_INET6 and found[4:16] == found[20:32] == MAPPED:
        return found[:4] + found[16:20].ljust(16, b"\0") + found[32:36].ljust(16, b"\0")
    return found[:36]


class Connection(NamedTuple):
    """One end of an established connection. `serves`: this end is the target, not its client. `queued`: bytes that nobody has read or
    acknowledged yet. `sent`, `received`: seconds since the last data."""

    serves: bool
    queued: int
    sent: float
    received: float


def connections(targets: Collection[Target]) -> list[Connection]:
    """Return the ends in this network namespace of all established connections to one of the targets. Needs no right. Raises OSError."""
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(2.0)
        for family in (socket.AF_INET, socket.AF_INET6):
            wanted = {_wire(family, (_mapped(family, target[0]), target[1])) for target in targets if _may_be(family, target[0])}
            for body in _messages(kernel, family, 1 << (TCP_INFO - 1)) if wanted else ():
                ident = body[_ID]
                serves = (ident[0:2], ident[4:20]) in wanted
                if serves or (ident[2:4], ident[20:36]) in wanted:
                    info = _attribute(body, TCP_INFO)
                    sent, received = (struct.unpack_from("=I", info, at)[0] / 1000 for at in (_SENT_AT, _RECEIVED_AT))
                    found.append(Connection(serves, sum(_QUEUES.unpack_from(body, _QUEUES_AT)), sent, received))
    return found


def _may_be(family: int, ip: str) -> bool:
    return ":" not in ip or family == socket.AF_INET6


def _mapped(family: int, ip: str) -> str:
    """An IPv4 address as a socket that takes both kinds has it."""
    return f"::ffff:{ip}" if family == socket.AF_INET6 and ":" not in ip else ip


def _attribute(body: bytes, kind: int) -> bytes:
    rest = body[_ATTRIBUTES_AT:]
    while len(rest) >= _ATTRIBUTE.size:
        length, found = _ATTRIBUTE.unpack_from(rest)
        if found == kind:
            return rest[_ATTRIBUTE.size : length].ljust(_RECEIVED_AT + 4, b"\0")
        rest = rest[max(_ATTRIBUTE.size, (length + 3) & ~3) :]
    return bytes(_RECEIVED_AT + 4)


def end_connections(targets: Collection[Target]) -> int:
    """Ends every established connection of this network namespace to one of the targets; returns how many. Raises OSError (EPERM
    without the right, EOPNOTSUPP on a kernel without CONFIG_INET_DIAG_DESTROY)."""
    ended = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(2.0)
        for family in (socket.AF_INET, socket.AF_INET6):
            wanted = {_wire(family, target) for target in targets if (":" in target[0]) == (family == socket.AF_INET6)}
            if wanted:
                found = [ident for body in _messages(kernel, family) if ((ident := body[_ID])[2:4], ident[20:36]) in wanted]
                ended += sum(_end(kernel, family, ident) for ident in found)
    return ended


def _wire(family: socket.AddressFamily, target: Target) -> tuple[bytes, bytes]:
    return struct.pack("!H", target[1]), _address(target)


def _address(target: Target) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in target[0] else socket.AF_INET, target[0]).ljust(16, b"\0")


def _send(kernel: socket.socket, kind: int, flags: int, family: int, ident: bytes, attributes: int = 0) -> None:
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, attributes, 1 << ESTABLISHED, ident)
    kernel.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)


def _answers(kernel: socket.socket, most: int = 1 << 18) -> Iterator[tuple[int, bytes]]:
    """The messages that are in the next datagram, which has `most` bytes."""
    datagram = kernel.recv(most)
    while len(datagram) >= _HEADER.size:
        length, kind = _HEADER.unpack_from(datagram)[:2]
        yield kind, datagram[_HEADER.size : length]
        datagram = datagram[(length + 3) & ~3 :]


def _messages(kernel: socket.socket, family: int, attributes: int = 0) -> Iterator[bytes]:
    _send(kernel, BY_FAMILY, NLM_DUMP, family, bytes(48), attributes)
    while True:
        for kind, body in _answers(kernel):
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                _raise(body)
            yield body


def _end(kernel: socket.socket, family: int, ident: bytes) -> bool:
    """False when it has ended by itself meanwhile."""
    _send(kernel, DESTROY, NLM_ACK, family, ident)
    for kind, body in _answers(kernel):
        if kind == NLMSG_ERROR and body[:4] != bytes(4):
            if -struct.unpack_from("=i", body)[0] in (errno.ENOENT, errno.ESTALE):
                return False
            _raise(body)
    return True


def _raise(body: bytes) -> None:
    number = -struct.unpack_from("=i", body)[0]
    raise OSError(number, os.strerror(number))
