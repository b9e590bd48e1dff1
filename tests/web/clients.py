"""Clients of listeners: as other users of this machine, and as whoever writes bytes into a socket."""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE

import pytest

STRANGER = 65534
"""nobody: a user whom no agent knows."""


def need_other_users() -> None:
    if os.getuid() != 0 or shutil.which("curl") is None:
        pytest.skip("acting as another user needs root and curl")


async def curl_as(uid: int, *arguments: str, groups: tuple[int, ...] = ()) -> tuple[int, str]:
    """The status (0: there was no answer) and the body that this user's curl gets."""
    need_other_users()
    child = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "-m", "10", "-w", "\n%{http_code}", *arguments),
        user=uid,
        group=uid,
        extra_groups=groups,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        cwd="/",
    )
    said, complaint = await child.communicate()
    body, _, status = said.decode().rpartition("\n")
    return int(status), body + complaint.decode()


async def raw(host: str, port: int, *pieces: bytes, seconds: float = 10.0) -> bytes:
    """What is answered to these bytes until the server hangs up."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(seconds):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
