"""A line on the terminal that says what is waited for, and goes away. Nothing where errors do not go to a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable

from argosy.terminal import echo, is_terminal, show_status

AFTER = 1.0
"""Seconds of waiting after which it is worth a word."""


class Progress:
    """`say` shows a line once the wait has lasted `AFTER` seconds, `echo` prints past it; leaving the `with` block clears it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    @property
    def waited(self) -> float:
        return self._clock() - self._begun

    @property
    def visible(self) -> bool:
        return is_terminal(err=True)

    def say(self, text: str) -> None:
        if self.waited < AFTER or not self.visible:
            return
        show_status(f"{int(self.waited)} s: {text}")
        self._shown = True

    def echo(self, *lines: str, err: bool = False) -> None:
        self.clear()
        echo(*lines, err=err)

    def clear(self) -> None:
        if self._shown:
            show_status("")
            self._shown = False
