"""Whether an entry can listen where it should: asked before nginx is, whose own word comes late. Blocks."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from argosy.errors import Conflict
from argosy.web import listeners
from argosy.web.addresses import split_address

PRIVILEGED = "ports below 1024 take root, or the capability CAP_NET_BIND_SERVICE; name one above with --listen"


def check_free(listen: Sequence[str]) -> None:
    """Raises Conflict that names the first address, as nginx writes them, that cannot be listened on, and why."""
    for address in listen:
        error = why_taken(address)
        if error is not None:
            remedy = PRIVILEGED if error.errno == errno.EACCES else "another server listens there: stop it, or name another address"
            if error.errno == errno.EADDRNOTAVAIL:
                remedy = "name an address of this host, or 0.0.0.0 for all"
            raise Conflict(f"the entry cannot listen on {address}: {said(error)}", remedy=remedy) from error


def said(error: OSError) -> str:
    """The system's word for it, without Python's additions."""
    return os.strerror(error.errno) if error.errno else str(error)


def why_taken(listen: str) -> OSError | None:
    """What stands in the way of listening on `HOST:PORT`, `[IPV6]:PORT` or `*:PORT`, or None."""
    return listeners.why_taken(*split_address(listen))
