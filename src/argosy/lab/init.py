"""The first process of a process machine (and of the entry): it keeps the agent running and is the parent of whatever loses its own.

Run as a file, with nothing but the standard library, so that it stays small:

    python -S init.py ADDRESS COMMAND...

Like an init, it takes in orphans (so that all processes of the machine descend from it) and buries the dead; like Restart=always, it starts
the command again when it ends. While it lives, it holds a socket on the machine's address: so everybody sees that the address is in use.
"""

from __future__ import annotations

import _socket  # the module `socket` would double the size of this process
import ctypes
import os
import sys
import time
from collections.abc import Sequence

PR_SET_CHILD_SUBREAPER = 36
PAUSE = 0.5


def main(address: str, command: Sequence[str]) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    claim = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    claim.bind((address, 0))
    while True:
        started = time.monotonic()
        child = os.posix_spawn(command[0], list(command), os.environ)
        while os.waitpid(-1, 0)[0] != child:
            pass
        time.sleep(max(0.0, PAUSE - (time.monotonic() - started)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
