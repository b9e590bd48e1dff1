"""Signals that end a program in its own time."""

from __future__ import annotations

import asyncio
import signal


def first_signal(*numbers: signal.Signals) -> asyncio.Future[int]:
    """Return the first of these signals that comes to this process (none named: SIGTERM or SIGINT), once it has come. Until the running
    loop is closed, none of them does anything else."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[int] = loop.create_future()

    def hear(number: int) -> None:
        if not heard.done():
            heard.set_result(number)

    for number in numbers or (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hear, number)
    return heard
