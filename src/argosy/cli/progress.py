"""A line on the terminal that says what is waited for, and goes away. Nothing where errors do not go to a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

from argosy.cli.table import columns

AFTER = 1.5
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
        return sys.stderr.isatty()

    def say(self, text: str) -> None:
        if self.waited < AFTER or not self.visible:
            return
        room = max(20, columns() - 1)
        line = f"{int(self.waited)} s: {text}"
        sys.stderr.write("\r\x1b[K" + (line if len(line) <= room else line[: room - 1] + "…"))
        sys.stderr.flush()
        self._shown = True

    def echo(self, text: str, *, err: bool = False) -> None:
        self.clear()
        click.echo(text, err=err)

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False
