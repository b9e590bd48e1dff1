"""Reading the log files that the pump writes: the last lines, and those that follow. Nothing here needs the supervisor to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from argosy.agent.supervise.pump import segment, segments
from argosy.model import LogLine

CHUNK = 1024 * 1024


class Position(msgspec.Struct, frozen=True):
    """Where reading goes on: the number of a log file and a place in it. `part` is the beginning of a line whose end is not there yet."""

    number: int = 0
    offset: int = 0
    part: bytes = b""


def last(folder: Path, count: int) -> tuple[Sequence[LogLine], Position]:
    """The last `count` lines, oldest first, and where what follows them begins."""
    numbers = sorted(_segments(folder), reverse=True)
    position = Position(numbers[0] if numbers else 0)
    found: list[LogLine] = []
    for number in numbers:
        data = _read(folder, number, 0, -1)
        *raw, part = data.split(b"\n")
        if number == position.number:
            position = Position(number, len(data), part)
        wanted = count - len(found)
        lines = [line for line in map(parse, raw[max(0, len(raw) - wanted) :] if wanted else ()) if line is not None]
        found[:0] = lines
        if len(found) >= count:
            break
    return found, position


def following(folder: Path, position: Position) -> tuple[Sequence[LogLine], Position]:
    """The lines after `position` (a part of them, if they are many), and where the next ones begin."""
    data = _read(folder, position.number, position.offset, CHUNK)
    if not data:
        newer = [number for number in _segments(folder) if number > position.number]
        if not newer:
            return (), position
        data = _read(folder, position.number, position.offset, CHUNK)  # it may have grown before the next file was begun
        if not data:
            position = Position(min(newer))
            data = _read(folder, position.number, 0, CHUNK)
    *raw, part = (position.part + data).split(b"\n")
    lines = [line for line in map(parse, raw) if line is not None]
    return lines, Position(position.number, position.offset + len(data), part)


def parse(raw: bytes) -> LogLine | None:
    """A line of a log file; None for what is none (a file that something else wrote to)."""
    head, tab, text = raw.partition(b"\t")
    fields = head.split(b" ", 2)
    if not tab or len(fields) != 3:
        return None
    try:
        time, pid = float(fields[0]), int(fields[1])
    except ValueError:
        return None
    source = fields[2].decode(errors="replace")
    return LogLine(time, text.decode(errors="replace"), "" if source == "-" else source, pid)


def _segments(folder: Path) -> list[int]:
    try:
        return segments(str(folder))
    except FileNotFoundError:
        return []


def _read(folder: Path, number: int, offset: int, size: int) -> bytes:
    try:
        with open(segment(str(folder), number), "rb") as file:
            file.seek(offset)
            return file.read(size)
    except FileNotFoundError:
        return b""
