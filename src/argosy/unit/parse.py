"""Unit files: text to options and back, keeping the text byte for byte.

Lines, comments, continuation and sections are read as systemd 252 reads them. An option's `value` is kept in the form in which fleet
carries it (continuations inside), so that hashes and answers of the fleet API agree; `joined` and `UnitFile.values` give the meaning.
Two things are Argosy's own: assignments before any section header count as [Unit] (systemd and fleet drop them), and a line that systemd
would skip with a warning is an error here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha1
from typing import Literal

import msgspec

from argosy.errors import InvalidUnit
from argosy.unit.names import shown

LARGEST_FILE = 256 * 1024
"""Bytes. A larger unit file is refused: it would have to travel through the store with every placement."""

WHITESPACE = " \t\r\n"
_NEWLINE = re.compile(r"\r\n|\n\r|\r|\n")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNSAFE_IN_SECTION = re.compile(r"[\x00-\x1f\x7f\"'\\]")
_HASH = re.compile(r"[0-9a-f]{40}")
SOURCE = "X-Source"
"""The section in which a service that Argosy made from a Quadlet file carries that file's hash (`Hash=`). Users may not write it."""

_QUADLET = re.compile(r"^[ \t]*\[(?:Container|Volume|Network)\]", re.MULTILINE)
MAY_BE_EMPTY = frozenset({"Volume", "Network"})
"""Sections that make a file what it is (Quadlet's), even with nothing in them."""

Severity = Literal["error", "warning"]


class Problem(msgspec.Struct, frozen=True):
    """Something wrong or notable. `line` counts from 1; 0 is the file as a whole. A file with an error is refused."""

    line: int
    severity: Severity
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.message}"


class Option(msgspec.Struct, frozen=True):
    """One assignment. `line` (of its name) counts from 1 and is 0 for options that did not come from a text."""

    section: str
    name: str
    value: str
    line: int = 0

    @property
    def joined(self) -> str:
        """The value as systemd understands it: one line, continuations and the comments between them replaced."""
        value = self.value
        return _joined(value) if "\n" in value or value.endswith(("\\", " ")) else value


class UnitFile(msgspec.Struct, frozen=True):
    """A unit file that could be read. `text` is what was given; `problems` are in the order of lines; `bare` says that it begins with
    assignments before any section header; `headers` are the sections that are opened, also those without an assignment."""

    text: str
    options: tuple[Option, ...]
    problems: tuple[Problem, ...] = ()
    bare: bool = False
    headers: tuple[str, ...] = ()

    def assignments(self, section: str, name: str) -> tuple[str, ...]:
        """All values of an option, in order, the empty ones too."""
        return tuple([option.joined for option in self.options if option.name == name and option.section == section])

    def values(self, section: str, name: str) -> tuple[str, ...]:
        """All values of an option, in order; an empty assignment drops those before it."""
        found: list[str] = []
        for value in self.assignments(section, name):
            if value:
                found.append(value)
            else:
                found.clear()
        return tuple(found)

    def last(self, section: str, name: str) -> str | None:
        """The value that counts where only one can; None if there is none or it was reset."""
        found = self.values(section, name)
        return found[-1] if found else None

    def has_section(self, section: str) -> bool:
        return any(option.section == section for option in self.options)

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def hash(self) -> str:
        """SHA-1 of the options as fleet serialises them, 40 hexadecimal digits: comments and blank lines do not count. A service that was
        made from another kind of file carries that one's hash."""
        made_from = self.options[-1] if self.options else None
        if made_from is not None and made_from.section == SOURCE and _HASH.fullmatch(made_from.value):
            return made_from.value
        return sha1(serialize(self.options).encode(), usedforsecurity=False).hexdigest()

    @property
    def manager_text(self) -> str:
        """The text to hand to systemd: the very same, below a [Unit] header if it begins with bare assignments."""
        return "[Unit]\n" + self.text.removeprefix("\ufeff") if self.bare else self.text


def parse(text: str | bytes) -> UnitFile:
    """Reads a unit file. What is wrong with single lines is collected in `problems`; raises InvalidUnit only for what is no text."""
    text = readable(text)
    options: list[Option] = []
    problems: list[Problem] = []
    headers: list[str] = []
    section = ""
    bare = False
    skip = 0
    body = text.removeprefix("\ufeff")
    lines = _NEWLINE.split(body) if "\r" in body else body.split("\n")
    if _QUADLET.search(body):
        lines = [_without_blanks_after_backslash(line) for line in lines]
    for number, line in enumerate(lines, 1):
        if number <= skip:
            continue
        content = line.strip(WHITESPACE)
        if not content or content[0] in "#;":
            continue
        if line.endswith("\\") and _is_continued(line):
            pieces = _continuation(lines, number)
            skip = number + len(pieces) - 1
            content = _joined("\n".join(pieces))
        else:
            pieces = None
        if content.startswith("["):
            section = _section(content, number, section, problems)
            headers.append(section)
            continue
        name, equals, value = content.partition("=")
        name = name.rstrip(WHITESPACE)
        if not equals or not name:
            problems.append(Problem(number, "error", _garbage(content)))
            continue
        if not section:
            bare = True
            problems.append(Problem(number, "warning", "assignment before any section header; it counts as [Unit]"))
        value = _fleet_form(pieces) if pieces and "=" in pieces[0] else value.lstrip(WHITESPACE)
        if value.endswith("\\") and _is_continued(value) and not _is_continued(pieces[-1] if pieces else line):
            value += " "  # the space that kept the backslash from joining lines; serialised, it must do so again
        options.append(Option(section or "Unit", name, value, number))
    if _CONTROL.search(body):
        problems.extend(_control_characters(lines))
        problems.sort(key=lambda problem: problem.line)
    if not options and not problems and not MAY_BE_EMPTY.intersection(headers):
        problems.append(Problem(0, "error", "the file holds no assignment" if body.strip() else "the file is empty"))
    return UnitFile(text, tuple(options), tuple(problems), bare, tuple(headers))


def _without_blanks_after_backslash(line: str) -> str:
    """Podman's Quadlet takes the blanks off every line first, so that a backslash with blanks after it continues the line; in systemd it
    does not."""
    stripped = line.rstrip(WHITESPACE)
    return stripped if stripped.endswith("\\") else line


def serialize(options: Iterable[Option]) -> str:
    """fleet's form: options in order, grouped by section in the order in which the sections first appear, a blank line between."""
    sections: dict[str, list[str]] = {}
    for option in options:
        line = f"{option.name}={option.value}\n"
        group = sections.get(option.section)
        if group is None:
            sections[option.section] = [f"[{option.section}]\n", line]
        else:
            group.append(line)
    return "\n".join(["".join(group) for group in sections.values()])


def readable(text: str | bytes) -> str:
    """The text, decoded. Raises InvalidUnit for what is no text or too large for a unit file."""
    if isinstance(text, bytes):
        raw = text
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            if len(raw) <= LARGEST_FILE and b"\0" not in raw:
                line = raw.count(b"\n", 0, error.start) + 1
                raise InvalidUnit(f"line {line}: byte 0x{raw[error.start]:02x} is not UTF-8; a unit file is UTF-8 text") from error
            text = ""
    else:
        try:
            raw = text.encode()
        except UnicodeEncodeError as error:
            raise InvalidUnit(f"line {text.count(chr(10), 0, error.start) + 1}: a lone surrogate is no character") from error
    if len(raw) > LARGEST_FILE:
        raise InvalidUnit(
            f"the unit file has {len(raw)} bytes; the most is {LARGEST_FILE} ({LARGEST_FILE // 1024} KiB)",
            remedy="keep data out of the unit: in a file, a key or an image",
        )
    if b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise InvalidUnit(f"line {line}: a NUL byte; this is a binary file, not a unit file")
    return text


def _is_continued(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _is_comment(line: str) -> bool:
    return line.lstrip(WHITESPACE).startswith(("#", ";"))


def _continuation(lines: list[str], number: int) -> list[str]:
    """The physical lines of one logical line that starts at `number` (from 1), with the comments between them."""
    pieces = [lines[number - 1]]
    for line in lines[number:]:
        pieces.append(line)
        if not _is_comment(line) and not _is_continued(line):
            break
    return pieces


def _joined(value: str) -> str:
    first, *rest = value.split("\n")
    pieces = [first, *(line for line in rest if not _is_comment(line))]
    return "".join(f"{line[:-1]} " if _is_continued(line) else line for line in pieces).strip(WHITESPACE)


def _fleet_form(pieces: list[str]) -> str:
    """Lines and their backslashes kept; a value that a blank line ended keeps that line's newline."""
    pieces = [pieces[0].partition("=")[2], *pieces[1:]]
    value = "\n".join(pieces).strip(WHITESPACE)
    open_ended = len(pieces) > 1 and (not pieces[-1].strip(WHITESPACE) or _is_comment(pieces[-1]))
    return f"{value}\n" if open_ended else value


def _section(content: str, number: int, current: str, problems: list[Problem]) -> str:
    name = content[1:-1]
    if content[-1] != "]" or not name or _UNSAFE_IN_SECTION.search(name) or "]" in name:
        problems.append(Problem(number, "error", f"{shown(content)} is no section header; write it alone on its line, such as [Service]"))
        return current
    return name


def _garbage(content: str) -> str:
    missing = "a name before '='" if content.startswith("=") else "'='"
    return f"{shown(content)} lacks {missing}; a line is a [Section], Name=Value or a # comment"


def _control_characters(lines: list[str]) -> list[Problem]:
    return [
        Problem(number, "error", f"control character 0x{ord(found[0]):02x}; write it as an escape such as \\x1b")
        for number, line in enumerate(lines, 1)
        if (found := _CONTROL.search(line))
    ]
