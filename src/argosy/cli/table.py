"""Aligned tables and small words for people; colour, and lines that fit, only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from argosy.errors import InvalidInput

COLOURS = {
    "active": "green",
    "running": "green",
    "failed": "red",
    "activating": "yellow",
    "deactivating": "yellow",
    "reloading": "yellow",
    "failing": "red",
    "waiting": "yellow",
    "unknown": "yellow",
}
NARROWEST = 24
"""Columns below which the last cell is not folded."""


def table(rows: Sequence[Sequence[str]], headings: Sequence[str] | None, width: int = 0) -> str:
    """Columns separated by two spaces or more, each as wide as its widest cell; empty cells are "-". `headings` None: none. `width`: the
    last column is folded to fit into it (0: never)."""
    cells = [[cell or "-" for cell in row] for row in rows]
    lines = ([[heading.upper() for heading in headings]] if headings else []) + cells
    if not lines:
        return ""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    indent = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = width - indent
    if width and room >= NARROWEST:
        lines = [[*line[:-1], fold(line[-1], room, indent)] for line in lines]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def fold(text: str, room: int, indent: int) -> str:
    """The text in lines of at most `room` columns, broken at blanks; all but the first are indented."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return ("\n" + " " * indent).join(lines)


def columns(default: int = 80) -> int:
    """The terminal's width; COLUMNS overrides it."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    for stream in (sys.stdout, sys.stderr):
        try:
            return os.get_terminal_size(stream.fileno()).columns or default
        except (OSError, ValueError):
            continue
    return default


def colourful() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(word: str, shown: str = "") -> str:
    """A word of state in its colour where a terminal shows it, the word itself everywhere else. `shown`: other text in that colour."""
    colour = COLOURS.get(word)
    return click.style(shown or word, fg=colour) if colour and colourful() else shown or word


def show(rows: Sequence[Sequence[str]], headings: Sequence[str] | None) -> None:
    """Prints a table; words of state in colour, and long last cells folded, on a terminal."""
    text = table(rows, headings, columns() if sys.stdout.isatty() else 0)
    if text and colourful():
        text = "\n".join("  ".join(coloured(cell.strip(), cell) for cell in line.split("  ")) for line in text.split("\n"))
    if text:
        click.echo(text)


def show_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def chosen(fields: str | None, known: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """The columns that --fields asks for. Raises InvalidInput naming the known ones."""
    if fields is None:
        return tuple(default)
    wanted = tuple(field.strip() for field in fields.split(","))
    for field in wanted:
        if field not in known:
            raise InvalidInput(f"--fields: no field {field!r}", remedy=f"known fields: {', '.join(known)}")
    return wanted


def span(seconds: float) -> str:
    """A duration in words: 5s, 3min 2s, 2h 5min, 3d 4h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}min {whole % 60}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60}min"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def size(number: float) -> str:
    """Bytes as people read them: 512B, 1.5G."""
    for suffix in ("B", "K", "M", "G"):
        if number < 1024:
            return _sized(number, suffix)
        number /= 1024
    return _sized(number, "T")


def _sized(number: float, suffix: str) -> str:
    return f"{number:.0f}{suffix}" if suffix == "B" or number >= 100 else f"{number:.1f}{suffix}"
