"""Environment= lines and the content of EnvironmentFile=, read as systemd 252 reads them."""

from __future__ import annotations

import re

from argosy.errors import InvalidUnit
from argosy.unit.command import BadWord, Escapes, next_word
from argosy.unit.names import shown
from argosy.unit.specifiers import NotHonoured, Specifiers, expand_systemd

WHITESPACE = " \t\n\r"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def _is_assignment(name: str, value: str) -> bool:
    return _NAME.fullmatch(name) is not None and not _SURROGATE.search(value)


def environment(line: str, specifiers: Specifiers, notes: list[str] | None = None) -> dict[str, str]:
    """The assignments of one Environment= line, each a word, quoted as a whole if it holds spaces; `$` means nothing.

    What systemd ignores is left out and told in `notes`: words that are no assignment, and all from a word that cannot be read. Raises
    NotHonoured.
    """
    notes = [] if notes is None else notes
    found: dict[str, str] = {}
    at = 0
    while True:
        try:
            word, at = next_word(line, at, Escapes.STRICT)
        except BadWord:
            notes.append(f"an open quote or unknown escape: {shown(line[at:])} is ignored")
            return found
        if word is None:
            return found
        try:
            name, equals, value = expand_systemd(word, specifiers).partition("=")
        except NotHonoured:
            raise
        except InvalidUnit as error:
            notes.append(f"{shown(word)} is ignored: {error}")
            continue
        if equals and _is_assignment(name, value):
            found[name] = value
        else:
            notes.append(f"{shown(word)} is ignored: it is no NAME=value with a name of letters, digits and underscores and a UTF-8 value")


def parse_environment_file(text: str) -> dict[str, str]:
    """What the file at EnvironmentFile= sets: NAME=value lines, `#` and `;` comments, values in single or double quotes that may span
    lines, a backslash before the end of a line to go on. Assignments that are no valid environment are left out, as systemd does."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        if text[at] in WHITESPACE:
            at += 1
        elif text[at] in "#;":
            at = _after_comment(text, at)
        else:
            at = _assignment(text, at, found)
    return found


def _after_comment(text: str, at: int) -> int:
    """A comment ends with its line, unless a backslash stands before the end."""
    while at < len(text) and text[at] not in "\r\n":
        at += 2 if text[at] == "\\" else 1
    return at


def _assignment(text: str, at: int, found: dict[str, str]) -> int:
    start = at
    at += 1  # the first character belongs to the name, whatever it is
    while at < len(text) and text[at] not in "=\r\n":
        at += 1
    if at == len(text) or text[at] != "=":
        return at
    name = text[start:at].rstrip(WHITESPACE)
    value, at = _file_value(text, at + 1)
    if _is_assignment(name, value):
        found[name] = value
    return at


def _file_value(text: str, at: int) -> tuple[str, int]:
    """A value from after its `=`: quoted parts, then a bare rest, joined. The bare rest runs to the end of the line; quotes in it are
    literal, and whitespace after it does not count."""
    parts: list[str] = []
    while at < len(text) and text[at] not in "\r\n":
        character = text[at]
        if character == "'":
            end = text.find("'", at + 1)
            end = len(text) if end < 0 else end
            parts.append(text[at + 1 : end])
            at = end + 1
        elif character == '"':
            part, at = _double_quoted(text, at + 1)
            parts.append(part)
        elif character in " \t":
            at += 1
        else:
            part, at = _bare(text, at)
            return "".join([*parts, part]), at
    return "".join(parts), at


def _double_quoted(text: str, at: int) -> tuple[str, int]:
    part: list[str] = []
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
            if text[at] in '"\\`$':
                part.append(text[at])
            elif text[at] != "\n":
                part.append(f"\\{text[at]}")
        elif text[at] != "\\":
            part.append(text[at])
        at += 1
    return "".join(part), at + 1


def _bare(text: str, at: int) -> tuple[str, int]:
    part: list[str] = []
    kept = 0
    while at < len(text) and text[at] not in "\r\n":
        if text[at] == "\\":
            at += 1
            if at < len(text) and text[at] not in "\r\n":
                part.append(text[at])
            kept = len(part)
        else:
            part.append(text[at])
            kept = kept if text[at] in " \t" else len(part)
        at += 1
    return "".join(part[:kept]), at
