"""Since when the store has been within reach without a break.

When the store was away for everybody, the leases of healthy machines may end before their agents have found it again. A leader therefore
believes that a missing machine is lost only after it has been in touch with the store for a while (`settled`): for as long as the break
was, since agents try again with pauses that grow with it, and at most for a time that its caller knows to be enough. A process that has
just begun knows nothing of the time before and waits for that most: after a power cut of the whole cluster the first machine to be up
does not take everything.
"""

from __future__ import annotations

import math

from argosy.reconcile import Clock

FORGOTTEN = 4.0
"""Gaps of undisturbed contact after which an earlier break does not count any more."""


class Contact:
    """Fed by whoever speaks to the store; `gap` is the longest silence, in seconds, that is no break."""

    def __init__(self, clock: Clock, gap: float) -> None:
        self._clock = clock
        self._gap = gap
        self._since = self._last = clock.monotonic()
        self._broken = True
        self._silence = math.inf

    def seen(self) -> None:
        """The store has answered just now."""
        now = self._clock.monotonic()
        silence = now - self._last
        if self._broken or silence > self._gap:
            calm = self._last - self._since >= FORGOTTEN * self._gap
            self._silence = silence if calm else max(self._silence, silence)
            self._since = now
            self._broken = False
        self._last = now

    def missed(self) -> None:
        """The store was unavailable just now."""
        self._broken = True

    def settled(self, most: float) -> float:
        """Seconds until contact has lasted for long enough (`most`, if the break was longer than that); 0 if it has. While the store is
        away: all of them."""
        now = self._clock.monotonic()
        if self._broken or now - self._last > self._gap:
            return most
        return max(0.0, self._since + min(most, self._silence) - now)
