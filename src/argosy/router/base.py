"""The contract of whatever carries HTTP for the router: it is handed a whole configuration and says whether it serves it.

`tests/contracts/proxy_contract.py` is this page as a test suite. The proxy is a process of its own that outlives the agent; a new agent
finds it again through `adopt`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from argosy.sockdiag import Target


class Proxy(Protocol):
    """Methods raise RuntimeFailed with the proxy's own word. Calls are made one after another, except `wait_lost`, `tend` and `stop`."""

    @property
    def active(self) -> str:
        """The configuration being served, "" when nothing is, or when what is served is not known for certain."""

    @property
    def lingering(self) -> int:
        """Processes that still carry long connections of earlier configurations, as of the latest `apply`."""

    async def adopt(self) -> bool:
        """Finds a proxy that an earlier agent left running; True if there is one. `active` is then what it serves."""

    async def apply(self, config: str) -> None:
        """Serves `config`, starting the proxy if need be, and returns when it is being served. When it is refused, what was served
        before goes on being served, from the file too. Applying what is active does nothing."""

    async def revive(self) -> bool:
        """Starts the last good configuration again if nothing runs; False when there is none to start."""

    async def wait_lost(self) -> None:
        """Returns when the running proxy has ended without being told to; while none runs, it waits for one to run and end."""

    async def tend(self) -> Collection[Target]:
        """Do the housekeeping; to be called about twice a second. It aborts requests that hang on a machine that is gone and keeps logs
        within bounds. Return the upstreams that the proxy has failed to connect to since the last call."""

    async def stop(self, grace: float = 1.0) -> None:
        """Ends the proxy, letting requests finish for `grace` seconds. Nothing running is no error."""

    async def close(self) -> None:
        """Lets go of the proxy and leaves it running."""
