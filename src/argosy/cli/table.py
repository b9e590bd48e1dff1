"""Aligned tables and small words for people; colour, and lines that fit, only on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from argosy.errors import InvalidInput
from argosy.terminal import Coloured, Line, columns, echo, is_terminal, padded, printable, width_of

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
    last column is folded to fit into it (0: never). Cells are printable, and measured as a terminal shows them."""
    cells = [[printable(cell) or "-" for cell in row] for row in rows]
    lines = ([[heading.upper() for heading in headings]] if headings else []) + cells
    if not lines:
        return ""
    widths = [max(width_of(line[column]) for line in lines) for column in range(len(lines[0]))]
    indent = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = width - indent
    if width and room >= NARROWEST:
        lines = [[*line[:-1], fold(line[-1], room, indent)] for line in lines]
    return "\n".join("  ".join(padded(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def fold(text: str, room: int, indent: int) -> str:
    """The text in lines of at most `room` columns, broken at blanks; all but the first are indented."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and width_of(lines[-1]) + 1 + width_of(word) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return ("\n" + " " * indent).join(lines)


def coloured(word: str, shown: str = "") -> Coloured:
    """A word of state in its colour. `shown`: other text in that colour."""
    return Coloured(shown or word, COLOURS.get(word, ""))


def show(rows: Sequence[Sequence[str]], headings: Sequence[str] | None) -> None:
    """Print a table; on a terminal words of state in colour, and long last cells folded."""
    text = table(rows, headings, columns() if is_terminal() else 0)
    if text:
        echo(*(_coloured(line) for line in text.split("\n")))


def _coloured(line: str) -> Line:
    pieces: list[str | Coloured] = []
    for cell in line.split("  "):
        pieces += ["  ", coloured(cell.strip(), cell)]
    return pieces[1:]


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
