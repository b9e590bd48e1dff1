"""A unit's output from systemd's journal, read with journalctl."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from argosy.errors import RuntimeFailed
from argosy.model import LogLine
from argosy.programs import running

LONGEST_ENTRY = 16 * 2**20
"""Bytes of one entry in JSON; journald itself cuts lines at 48 KiB."""

_decoder = msgspec.json.Decoder(dict[str, Any])


async def read_journal(selector: str, name: str, lines: int, follow: bool) -> AsyncGenerator[LogLine, None]:
    """`selector` is --unit (the system's) or --user-unit. Closing the iterator ends journalctl."""
    command = [
        "journalctl",
        f"{selector}={name}",
        "--output=json",
        "--all",
        "--quiet",
        "--no-pager",
        f"--lines={max(0, lines)}",
        *(["--follow"] if follow else []),
    ]
    async with contextlib.AsyncExitStack() as stack:
        try:
            process = await stack.enter_async_context(running(command, longest_line=LONGEST_ENTRY))
        except OSError as error:
            raise RuntimeFailed(f"journalctl cannot be run: {error}", remedy="install systemd's journalctl") from error
        assert process.stdout is not None
        assert process.stderr is not None
        async for entry in process.stdout:
            for line in log_lines(entry):
                yield line
        complaint = (await process.stderr.read(4096)).decode(errors="replace").strip()
        if await process.wait() != 0:
            raise RuntimeFailed(f"journalctl failed for {name}: {complaint or process.returncode}")


def log_lines(entry: bytes) -> list[LogLine]:
    """The lines of one entry of `journalctl -o json`: a message may hold several, and bytes that are no text come as numbers."""
    try:
        fields = _decoder.decode(entry)
    except msgspec.DecodeError:
        return []
    message = fields.get("MESSAGE")
    if isinstance(message, list):
        message = bytes(number for number in message if isinstance(number, int) and 0 <= number < 256).decode(errors="replace")
    if not isinstance(message, str):
        return []
    time = _number(fields.get("__REALTIME_TIMESTAMP")) / 1e6
    source = fields.get("SYSLOG_IDENTIFIER") or fields.get("_COMM") or ""
    pid = _number(fields.get("_PID"))
    return [LogLine(time, text, source if isinstance(source, str) else "", pid) for text in message.split("\n")]


def _number(value: object) -> int:
    return int(value) if isinstance(value, str) and value.isdigit() else 0
