"""Waiting for files and for moments, in one thread: all that the supervisor's process needs of an event loop.

asyncio would do, and cost half of the process's memory again (it brings TLS, threads and futures along).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable

Callback = Callable[[], object]
PAUSE_AFTER_DEFECT = 1.0


class Loop:
    """Calls back when a file can be read (or written), when a signal came, and after every batch of such events."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._signals: dict[int, Callback] = {}
        self._stopped = False
        self._wake, inner = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(inner, warn_on_full_buffer=False)
        self.on_readable(self._wake, self._signalled)

    def on_readable(self, fd: int, callback: Callback) -> None:
        self._change(fd, selectors.EVENT_READ, callback)

    def on_writable(self, fd: int, callback: Callback) -> None:
        self._change(fd, selectors.EVENT_WRITE, callback)

    def forget(self, fd: int) -> None:
        """Both directions. Unknown files are no error."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def forget_writable(self, fd: int) -> None:
        callbacks = dict(self._selector.get_key(fd).data)
        if callbacks.pop(selectors.EVENT_WRITE, None) is not None:
            self._selector.unregister(fd)
            for event, callback in callbacks.items():
                self._change(fd, event, callback)

    def on_signal(self, number: int, callback: Callback) -> None:
        """A handler, never SIG_IGN: what a process ignores, those that it starts would ignore too."""
        self._signals[number] = callback
        signal.signal(number, lambda *_: None)

    def stop(self) -> None:
        """`run` returns after the present batch."""
        self._stopped = True

    def run(self, after: Callable[[], float | None]) -> None:
        """`after` is called before each wait and says how many seconds it may take at most (None: no end)."""
        while True:
            try:
                pause = after()
            except Exception:
                _report()
                pause = PAUSE_AFTER_DEFECT
            if self._stopped:
                return
            for key, events in self._selector.select(pause):
                for event, callback in key.data.items():
                    if events & event and self._still(key.fd, event, callback):
                        self._call(callback)

    def _call(self, callback: Callback) -> None:
        try:
            callback()
        except Exception:  # a defect somewhere must not take the units' supervisor away
            _report()

    def _change(self, fd: int, event: int, callback: Callback) -> None:
        try:
            key = self._selector.get_key(fd)
        except KeyError:
            self._selector.register(fd, event, {event: callback})
            return
        callbacks = {**key.data, event: callback}
        self._selector.modify(fd, key.events | event, callbacks)

    def _still(self, fd: int, event: int, callback: Callback) -> bool:
        """Whether nothing before it in the same batch took this callback away."""
        key = self._selector.get_map().get(fd)
        return key is not None and key.data.get(event) is callback

    def _signalled(self) -> None:
        came: set[int] = set()
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._wake, 4096):
                came.update(data)
        for number in came:
            callback = self._signals.get(number)
            if callback is not None:
                self._call(callback)


def _report() -> None:
    sys.stderr.write(traceback.format_exc())
    sys.stderr.flush()
