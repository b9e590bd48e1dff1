"""sd_notify: telling whoever runs this process (systemd, the supervisor) that it is ready, and how it is."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

Tell = Callable[[str], None]
"""Takes lines of sd_notify(3), such as READY=1 and STATUS=text. Never raises."""


def telling(environ: Mapping[str, str] = os.environ) -> Tell:
    """Tells $NOTIFY_SOCKET, nobody where it is not set. One datagram each; what cannot be taken at once is let go."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return silent
    where = "\0" + address[1:] if address[0] == "@" else address

    def tell(lines: str) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sender:
                sender.sendto(lines.encode(), where)
        except OSError as error:
            log.debug("%s takes no notice: %s", address, error)

    return tell


def silent(lines: str) -> None:
    """Nobody asked."""
