"""Since when the store has been within reach without a break.

When the store was away for everybody, the leases of healthy machines may end before their agents have found it again. A leader
therefore believes that a missing machine is lost only after it has been in touch with the store for a while (`settled`). A process that
has just begun knows nothing of the time before, and counts from its start: after a power cut of the whole cluster the first machine to be
up does not take everything.
"""

from __future__ import annotations

from argosy.reconcile import Clock


class Contact:
    """Fed by whoever speaks to the store; `gap` is the longest silence, in seconds, that is no break."""

    def __init__(self, clock: Clock, gap: float) -> None:
        self._clock = clock
        self._gap = gap
        self._since = clock.monotonic()
        self._last: float | None = None

    def seen(self) -> None:
        """The store has answered just now."""
        now = self._clock.monotonic()
        if self._last is None or now - self._last > self._gap:
            self._since = now
        self._last = now

    def missed(self) -> None:
        """The store was unavailable just now."""
        self._last = None

    def settled(self, grace: float) -> float:
        """Seconds until contact has lasted for `grace` seconds; 0 if it has. While the store is away: all of it."""
        now = self._clock.monotonic()
        if self._last is None or now - self._last > self._gap:
            return grace
        return max(0.0, self._since + grace - now)
