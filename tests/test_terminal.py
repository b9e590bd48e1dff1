"""What foreign text becomes on its way to a person: in every output, no character that a terminal would act on."""

from __future__ import annotations

import io
import json
import logging
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.logs import LineFormatter
from argosy.terminal import content, echo, echo_json, indented, is_plain, padded, printable, shortened, width_of, without_colours

SHOWN = [
    ("plain text and ünïcode stay", "über – 日本 \U0001f600", "über – 日本 \U0001f600"),
    ("a colour", "\x1b[31mred", r"\x1b[31mred"),
    ("the window's title", "\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
    ("a forged line", "a\nb\r\nc", r"a\nb\r\nc"),
    ("a line break of Unicode's own", "a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
    ("the eight-bit CSI", "\x9b31m", r"\x9b31m"),
    ("delete and backspace", "safe\x08\x7f", r"safe\x08\x7f"),
    ("text that runs backwards", "a\u202egpj.exe\u2066", r"a\u202egpj.exe\u2066"),
    ("what cannot be seen", "pay\u200bpal\ufeff\u00ad", r"pay\u200bpal\ufeff\xad"),
    ("tags beyond the basic plane", "\U000e0041", r"\U000e0041"),
    ("half a character", "\ud83d", r"\ud83d"),
    ("a byte of a file name that is no text", "\udcff", r"\udcff"),
    ("a tab ends at the next eighth column", "a\tb", "a       b"),
    ("other blanks are blanks", "a\u00a0b\u3000c", "a\u00a0b\u3000c"),
    ("what looks like an escape already", r"C:\new\x1b", r"C:\new\x1b"),
]


@pytest.mark.parametrize(("what", "text", "shown"), SHOWN, ids=[row[0] for row in SHOWN])
def test_one_line_of_text(what: str, text: str, shown: str) -> None:
    assert printable(text) == shown
    assert is_plain(text) == (text == shown)


def acts_on_terminals(text: str, allowed: str = "") -> set[str]:
    """The control, format and surrogate characters of a text."""
    return {sign for sign in text if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") and sign not in allowed}


@given(st.text(st.characters()))
def test_whatever_comes_nothing_of_it_acts_on_a_terminal(text: str) -> None:
    assert not acts_on_terminals(printable(text))
    assert printable(printable(text)) == printable(text)


class Terminal(io.TextIOWrapper):
    """A standard output that says it is a terminal, or not, and keeps its bytes."""

    def __init__(self, *, is_terminal: bool, encoding: str = "utf-8") -> None:
        self.bytes = io.BytesIO()
        self._is_terminal = is_terminal
        super().__init__(self.bytes, encoding=encoding)

    def isatty(self) -> bool:
        return self._is_terminal

    @property
    def shown(self) -> str:
        self.flush()
        return self.bytes.getvalue().decode(self.encoding, "surrogatepass")


@contextmanager
def standard_output(**options: Any) -> Iterator[Terminal]:
    before, made = sys.stdout, Terminal(**options)
    sys.stdout = made
    try:
        yield made
    finally:
        sys.stdout = before


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_line_stays_one_line_on_a_terminal_and_in_a_pipe(is_terminal: bool) -> None:
    with standard_output(is_terminal=is_terminal) as output:
        echo("a\nforged\x1b[2J", "second")
    assert output.shown == "a\\nforged\\x1b[2J\nsecond\n"


FOREIGN = "[Unit]\r\nDescription=\x1b]0;x\x07 half \ud83d of it\n"


SHOWN_CONTENT = "[Unit]\\r\nDescription=\\x1b]0;x\\x07 half \\udced\\udca0\\udcbd of it\n"


@pytest.mark.parametrize(("is_terminal", "shown"), [(False, FOREIGN), (True, SHOWN_CONTENT)])
def test_content_is_exact_in_a_pipe_and_escaped_on_a_terminal(is_terminal: bool, shown: str) -> None:
    with standard_output(is_terminal=is_terminal) as output:
        content(FOREIGN)
    assert output.shown == shown


@given(st.recursive(st.text(st.characters()), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner)))
def test_json_is_exact_and_acts_on_no_terminal(value: object) -> None:
    with standard_output(is_terminal=True) as output:
        echo_json(value)
    assert not acts_on_terminals(output.shown, "\n")
    assert json.loads(output.shown) == value


def test_a_character_that_the_encoding_lacks_is_escaped() -> None:
    with standard_output(is_terminal=True, encoding="ascii") as output:
        echo("● über")
    assert output.shown == "\\u25cf \\xfcber\n"


def test_further_lines_are_indented_so_that_none_passes_for_another() -> None:
    assert indented("Error: a\nUnit b launched") == ["Error: a", "  Unit b launched"]


COLOURS = [("\x1b[1;32mok\x1b[0m", "ok"), ("\x1b[\x1b[0m31mx", "\x1b[31mx"), ("\x1b]0;t\x07", "\x1b]0;t\x07")]


@pytest.mark.parametrize(("text", "left"), COLOURS)
def test_only_colours_are_left_out(text: str, left: str) -> None:
    assert without_colours(text) == left


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("\U0001f600", 2), ("über", 4)])
def test_widths_are_a_terminals(text: str, width: int) -> None:
    assert width_of(text) == width
    assert width_of(padded(text, 9)) == 9


@pytest.mark.parametrize(("text", "width", "short"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 5, "日本…"), ("日本語", 4, "日…")])
def test_a_line_is_cut_by_columns(text: str, width: int, short: str) -> None:
    assert shortened(text, width) == short


def test_a_logged_message_is_one_line_and_a_traceback_keeps_its_own() -> None:
    formatter = LineFormatter("%(levelname)s %(message)s")
    record = logging.LogRecord("argosy", logging.INFO, "", 0, "unit %s", ("x\nERROR forged\x1b[2J",), None)
    assert formatter.format(record) == "INFO unit x\\nERROR forged\\x1b[2J"
    try:
        raise ValueError("bad\x1b]0;t\x07")
    except ValueError:
        record.exc_info = sys.exc_info()
    lines = formatter.format(record).split("\n")
    assert lines[1].startswith("Traceback")
    assert lines[-1] == "ValueError: bad\\x1b]0;t\\x07"
