"""Text for people: the one place that writes to a terminal.

Text from units, servers, files and other users may hold control characters that move the cursor, set the window's title, forge a line or
reorder what stands beside them. Here each of them becomes a visible escape such as `\\x1b` or `\\u202e`, as systemctl and git show them, on
a terminal and in a pipe alike: a forged row misleads a script as well. Two outputs stay exact: JSON, whose own escapes lose nothing, and
`content`, which is meant for programs (a unit's file, the bare lines of a log) and escaped only where it goes to a terminal.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple
from unicodedata import category, east_asian_width

TAB = 8
_COLOURS = {"red": 31, "green": 32, "yellow": 33}
_SGR = re.compile(r"\x1b\[[0-9;:]*m")
_UNUSUAL = re.compile(r"[^\n\x20-\x7e]")


class Coloured(NamedTuple):
    """Text in a colour of Argosy's own; `colour` "" for none."""

    text: str
    colour: str = ""


Line = str | Coloured | list[str | Coloured]
"""One line of output: text, or pieces of text of which some are coloured."""


def printable(text: str) -> str:
    """Return the text as one line without control, format or surrogate characters: each becomes its Python escape, tabs become blanks."""
    if text.isprintable():
        return text
    return "".join(sign if _is_harmless(sign) else _escape(sign) for sign in text.expandtabs(TAB))


def is_plain(text: str) -> bool:
    """Return True if `printable` changes nothing."""
    return printable(text) == text


def _is_harmless(sign: str) -> bool:
    return sign.isprintable() or category(sign) == "Zs"


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def without_colours(text: str) -> str:
    """Return the text without the colours that its writer gave it, as journalctl shows log lines."""
    return _SGR.sub("", text) if "\x1b" in text else text


def indented(text: str, indent: str = "  ") -> list[str]:
    """Split text of several lines; all but the first are indented, so that none can pass for a line of another kind."""
    first, *rest = text.split("\n")
    return [first, *(indent + line for line in rest)]


def width_of(text: str) -> int:
    """Columns that a terminal needs for printable text: two for East Asian wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(0 if category(sign) in ("Mn", "Me") else 2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def padded(text: str, width: int) -> str:
    return text + " " * (width - width_of(text))


def shortened(text: str, width: int) -> str:
    """Cut printable text to `width` columns, ending in … where something is left out."""
    if width_of(text) <= width:
        return text
    while width_of(text) >= width:
        text = text[:-1]
    return f"{text}…"


def columns(default: int = 80) -> int:
    """Return the terminal's width; COLUMNS overrides it."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    for stream in (sys.stdout, sys.stderr):
        try:
            return os.get_terminal_size(stream.fileno()).columns or default
        except (OSError, ValueError):
            continue
    return default


def is_terminal(*, err: bool = False) -> bool:
    return (sys.stderr if err else sys.stdout).isatty()


def echo(*lines: Line, err: bool = False) -> None:
    """Print lines, escaped. A line break inside a line is escaped as well: what comes from outside cannot add a line."""
    colourful = is_terminal(err=err) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    _write("".join(f"{_render(line, colourful)}\n" for line in lines), err=err)


def _render(line: Line, colourful: bool) -> str:
    if isinstance(line, list):
        return "".join(_render(piece, colourful) for piece in line)
    if isinstance(line, Coloured) and line.colour and colourful:
        return f"\x1b[{_COLOURS[line.colour]}m{printable(line.text)}\x1b[0m"
    return printable(line.text if isinstance(line, Coloured) else line)


def content(said: str | bytes, *, err: bool = False) -> None:
    """Print what is meant for programs, exactly; on a terminal with everything but its line breaks escaped."""
    data = said.encode("utf-8", "surrogatepass") if isinstance(said, str) else said
    if is_terminal(err=err):
        lines = data.decode("utf-8", "surrogateescape").split("\n")
        _write("\n".join(printable(line) for line in lines), err=err)
    else:
        stream = sys.stderr if err else sys.stdout
        stream.buffer.write(data)
        stream.buffer.flush()


def echo_json(value: Any, indent: int | None = 2) -> None:
    """Print JSON: the exact value, in which characters that a terminal would act on are written as JSON's own escapes."""
    text: str = importlib.import_module("json").dumps(value, indent=indent, ensure_ascii=False)
    text = _UNUSUAL.sub(lambda found: found[0] if _is_harmless(found[0]) else _escape_in_json(found[0]), text)
    _write(f"{text}\n", err=False)


def _escape_in_json(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def show_status(text: str) -> None:
    """Replace the last line of the terminal that errors go to, cut to its width; "" clears it."""
    sys.stderr.write("\r\x1b[K" + shortened(printable(text), max(20, columns() - 1)))
    sys.stderr.flush()


def echo_traceback(lines: Sequence[str]) -> None:
    """Print what traceback.format_exception returns."""
    echo(*"".join(lines).rstrip("\n").split("\n"), err=True)


def _write(text: str, *, err: bool) -> None:
    """Characters that the terminal's encoding lacks are escaped."""
    stream = sys.stderr if err else sys.stdout
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
