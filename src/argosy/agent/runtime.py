"""What an agent needs of whatever runs units: the contract of `systemd` and `supervisor`.

`tests/contracts/runtime_contract.py` is this page as a test suite. The runtime owns everything that systemd owns (dependencies,
restarts, timeouts, process groups); the agent only loads, starts, stops, unloads and watches. What a runtime runs goes on when the agent
dies, and a new agent finds it again through `units`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from argosy.model import Detail, LogLine, Observed


class Runtime(Protocol):
    """Every method raises RuntimeFailed when the engine behind it refuses or cannot be reached.

    A method that takes many units does its work for all of them but those that are refused, and then raises RuntimeFailed with `refused`
    naming each of these and why. A name that is no unit name and text that holds a NUL are refused like that.
    """

    kind: str
    """systemd, systemd-user or supervisor."""

    async def units(self, names: Iterable[str] | None = None) -> dict[str, Observed]:
        """All units loaded through this runtime and not unloaded since, by any agent of this machine; with `names` those of them."""

    async def load(self, units: Sequence[tuple[str, str]]) -> None:
        """Make (name, text) pairs known, many at once. A name that is loaded already gets the new text, and its launch becomes 0 if that is
        another text (by its hash); what runs goes on running. Text that the engine cannot run is no error here: `Observed.load` tells."""

    async def unload(self, names: Sequence[str]) -> None:
        """Forget units. They are stopped first if they still run. Unknown names are no error."""

    async def start(self, launches: Sequence[tuple[str, int]]) -> None:
        """Start units, many at once, remembering each one's launch. One that runs in another launch, or by an older text, is restarted; one
        that runs in this launch or in none (the engine started it) keeps running and belongs to this launch from now on, as with
        `systemctl start`. Returns when the runtime has accepted the jobs: how they end is seen in `units`. A failed unit is started afresh
        (its start limit is reset)."""

    async def stop(self, names: Sequence[str]) -> None:
        """Stop units and end their launch (it becomes 0); returns when the jobs are accepted. Units that do not run are no error. A launch
        is ended only if the stop was accepted, also when the agent dies in between."""

    async def kill(self, names: Sequence[str]) -> None:
        """SIGKILL to every process of the units, at once; they do not restart, and their launch ends as with `stop`."""

    def changes(self) -> AsyncIterator[frozenset[str]]:
        """Names of units whose Observed changed, pushed as it happens; the first item comes at once and names all units. Never ends by
        itself; raises RuntimeFailed when the engine is lost (call it again to reconnect)."""

    async def detail(self, name: str) -> Detail:
        """Raises NotFound for a unit that is not loaded here."""

    def logs(self, name: str, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        """The last `lines` lines, oldest first; with `follow` then every new one until closed."""

    async def close(self) -> None:
        """Let go of connections; nothing that runs is touched."""
