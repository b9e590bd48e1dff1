"""sd_notify(3): saying to whoever runs this process (systemd, the supervisor) that it is ready, and how it is."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

Notify = Callable[[str], None]
"""Takes lines of sd_notify(3), such as READY=1 and STATUS=text. Never raises."""


def notifier(environ: Mapping[str, str] = os.environ) -> Notify:
    """Return what sends to $NOTIFY_SOCKET, to nobody where it is not set. One datagram a call; what cannot be taken at once is dropped."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return silent
    where = "\0" + address[1:] if address[0] == "@" else address

    def notify(lines: str) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sender:
                sender.sendto(lines.encode(), where)
        except OSError as error:
            log.debug("%s takes no notice: %s", address, error)

    return notify


def silent(lines: str) -> None:
    """Nobody asked."""
