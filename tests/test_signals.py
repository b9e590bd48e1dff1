"""Signals that end a program in its own time."""

from __future__ import annotations

import asyncio
import os
import signal

from argosy.signals import first_signal


async def test_the_first_signal_counts_and_later_ones_do_nothing() -> None:
    heard = first_signal(signal.SIGUSR1, signal.SIGUSR2)
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert await heard == signal.SIGUSR2
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.sleep(0)
        assert heard.result() == signal.SIGUSR2
    finally:
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            asyncio.get_running_loop().remove_signal_handler(number)


async def test_without_names_it_is_what_systemd_and_terminals_send() -> None:
    heard = first_signal()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        assert await heard == signal.SIGINT
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
