"""Aligned tables and small words for people; colour only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from argosy.errors import InvalidInput

COLOURS = {"active": "green", "running": "green", "failed": "red", "activating": "yellow", "deactivating": "yellow", "failing": "red"}


def table(rows: Sequence[Sequence[str]], headings: Sequence[str] | None) -> str:
    """Columns separated by two spaces or more, each as wide as its widest cell; empty cells are "-". None: no headings."""
    cells = [[cell or "-" for cell in row] for row in rows]
    lines = ([[heading.upper() for heading in headings]] if headings else []) + cells
    if not lines:
        return ""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def coloured(text: str) -> str:
    """Words of state in colour where a terminal shows them; the text itself everywhere else."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    for word, colour in COLOURS.items():
        text = text.replace(f" {word}", " " + click.style(word, fg=colour))
    return text


def show(rows: Sequence[Sequence[str]], headings: Sequence[str] | None) -> None:
    text = table(rows, headings)
    if text:
        click.echo(coloured(text))


def show_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def chosen(fields: str | None, known: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """The columns that --fields asks for. Raises InvalidInput naming the known ones."""
    if not fields:
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
    for suffix in ("B", "K", "M", "G", "T"):
        if number < 1024 or suffix == "T":
            return f"{number:.0f}{suffix}" if suffix == "B" or number >= 100 else f"{number:.1f}{suffix}"
        number /= 1024
    raise AssertionError("unreachable")
