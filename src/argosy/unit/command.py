"""Command lines, split and expanded exactly as systemd 252 does it (systemd.service, COMMAND LINES). There is no shell.

A line becomes commands when the unit is read: quotes, C escapes, specifiers, `;` between commands. Variables are replaced when a command is
run: `arguments`. Bytes that are not UTF-8 (from `\\xHH`) travel as Python's surrogate escapes, as in os.fsencode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

import msgspec

from argosy.errors import InvalidUnit
from argosy.unit.names import shown
from argosy.unit.specifiers import NotHonoured, Specifiers, expand_systemd

WHITESPACE = " \t\n\r"
_SIMPLE_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'", "s": " "}
_NUMERIC_ESCAPE = re.compile(r"x(?P<hex>[0-9a-fA-F]{2})|(?P<octal>[0-7]{3})|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})")
_ORDINARY = re.compile(r"[^\\'\" \t\n\r]+")
_VARIABLE = re.compile(r"\$\$|\$\{([^}:]*)(\}|:|\Z)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\"'\\]")


class Command(msgspec.Struct, frozen=True):
    """One command of a line. `argv` still holds variables (`argv[0]` is what the process shall be called); `path` is what to execute: an
    absolute path, or a bare name to look up in the search path.

    `ignore_failure` is the prefix `-`, `expand` False the prefix `:`. `privilege` is "", "+" (as the manager's user, nothing restricted),
    "!" (the same, restrictions kept) or "!!" (as User= where the kernel has ambient capabilities, which it has).
    """

    path: str
    argv: tuple[str, ...]
    ignore_failure: bool = False
    expand: bool = True
    privilege: str = ""

    @property
    def as_user(self) -> bool:
        """Whether User= and Group= apply to this command."""
        return self.privilege in ("", "!!")


class Escapes(Enum):
    """How `next_word` takes a backslash: as a C escape that must be known, as one that is kept as it is if unknown, or as "the next
    character literally" (values of variables; there a missing closing quote is forgiven too)."""

    STRICT = 1
    LENIENT = 2
    LITERAL = 3


class BadWord(ValueError):
    """A word with an unknown escape or an open quote."""


def commands(line: str, specifiers: Specifiers, notes: list[str] | None = None) -> tuple[Command, ...]:
    """The commands of one ExecStart= or its like. A command with the prefix `-` that cannot be read is left out, with all after it, and
    so is one whose executable has an open quote.

    `notes` receives what systemd would warn of. Raises InvalidUnit for what makes systemd refuse the unit.
    """
    notes = [] if notes is None else notes
    found: list[Command] = []
    at: int | None = 0
    while at is not None:
        try:
            word, start = _command_word(line, at, notes)
        except InvalidUnit as error:
            notes.append(f"ignored from here on: {error}")
            break
        if word is None:
            break
        if word == ";":
            at = start
            continue
        flags, path = _prefixes(word)
        try:
            command, at = _command(line, start, path, flags, specifiers, notes)
        except InvalidUnit as error:
            if "-" not in flags or isinstance(error, NotHonoured):
                raise
            notes.append(f"ignored, as it begins with '-': {error}")
            break
        found.append(command)
    return tuple(found)


def _prefixes(word: str) -> tuple[str, str]:
    """The prefixes in front of an executable, each at most once (`!` twice), and what is left of the word."""
    flags = ""
    while word:
        mark = word[0]
        allowed = (
            (mark in "-@:" and mark not in flags)
            or (mark == "+" and not set("+!") & set(flags))
            or (mark == "!" and "+" not in flags and flags.count("!") < 2)
        )
        if not allowed:
            break
        flags += mark
        word = word[1:]
    return flags, word


def _command(line: str, at: int, word: str, flags: str, specifiers: Specifiers, notes: list[str]) -> tuple[Command, int | None]:
    """The command whose executable is `word` and whose arguments begin at `at`; and where the next one begins, None if none follows."""
    path = expand_systemd(word, specifiers)
    _check_executable(path, line)
    argv = [] if "@" in flags else [path]
    following: int | None = None
    while at < len(line):
        if _is_separator(line, at):
            following = at + 1
            break
        if line[at] == "\\" and _is_separator(line, at + 1):
            argv.append(";")
            at = _skip_whitespace(line, at + 2)
            continue
        argument, at = _command_word(line, at, notes)
        if argument is None:
            break
        argv.append(expand_systemd(argument, specifiers))
    if not argv or not argv[0]:
        raise InvalidUnit(f"{shown(line)}: after '@' and the executable comes the name that the process shall have, and there is none")
    command = Command(
        path=re.sub(r"/(?:\.?/)+", "/", path),
        argv=tuple(argv),
        ignore_failure="-" in flags,
        expand=":" not in flags,
        privilege="+" if "+" in flags else "!" * flags.count("!"),
    )
    return command, following


def _is_separator(line: str, at: int) -> bool:
    return line.startswith(";", at) and (at + 1 == len(line) or line[at + 1] in WHITESPACE)


def _check_executable(path: str, line: str) -> None:
    if not path:
        raise InvalidUnit(f"{shown(line)} has no executable")
    if _CONTROL.search(path):
        raise InvalidUnit(f"executable {shown(path)} holds a quote, a backslash or a control character")
    if path.endswith("/"):
        raise InvalidUnit(f"executable {shown(path)} is a directory")
    if not path.startswith("/") and ("/" in path or path in (".", "..") or len(path) > 255):
        raise InvalidUnit(f"executable {shown(path)} is neither an absolute path nor a bare file name")


def _command_word(line: str, at: int, notes: list[str]) -> tuple[str | None, int]:
    try:
        return next_word(line, at, Escapes.STRICT)
    except BadWord:
        pass
    try:
        word, after = next_word(line, at, Escapes.LENIENT)
    except BadWord:
        raise InvalidUnit(f"{shown(line)} has a quote that is not closed") from None
    notes.append(f"unknown escape in {shown(word or '')}: the backslash is kept as it is")
    return word, after


def next_word(text: str, at: int, escapes: Escapes) -> tuple[str | None, int]:
    """The next word from `at`, unquoted, and where the one after it begins; (None, end) if there is none. Raises BadWord."""
    at = _skip_whitespace(text, at)
    if at == len(text):
        return None, at
    parts: list[str] = []
    quote = ""
    while at < len(text):
        character = text[at]
        if character == "\\":
            piece, at = _escape(text, at + 1, escapes, quote)
            parts.append(piece)
            continue
        if quote:
            if character == quote:
                quote = ""
            else:
                parts.append(character)
        elif character in "'\"":
            quote = character
        elif character in WHITESPACE:
            break
        elif found := _ORDINARY.match(text, at):
            parts.append(found[0])
            at = found.end()
            continue
        at += 1
    if quote and escapes is not Escapes.LITERAL:
        raise BadWord(text)
    return _without_split_bytes("".join(parts)), _skip_whitespace(text, at)


def _escape(text: str, at: int, escapes: Escapes, quote: str) -> tuple[str, int]:
    """What the escape after a backslash gives, and where the text goes on."""
    if at == len(text):
        if escapes is Escapes.LITERAL:
            return "", at
        if escapes is Escapes.LENIENT and not quote:
            return "\\", at
        raise BadWord(text)
    character = text[at]
    if escapes is Escapes.LITERAL:
        return character, at + 1
    if character in _SIMPLE_ESCAPES:
        return _SIMPLE_ESCAPES[character], at + 1
    found = _NUMERIC_ESCAPE.match(text, at)
    piece = _numeric_escape(found) if found else ""
    if found and piece:
        return piece, found.end()
    if escapes is Escapes.LENIENT:
        return f"\\{character}", at + 1
    raise BadWord(text)


def _numeric_escape(found: re.Match[str]) -> str:
    """The character of a numeric escape, "" if there is no such character. Bytes above 127 become surrogate escapes."""
    if found["hex"] or found["octal"]:
        byte = int(found["hex"], 16) if found["hex"] else int(found["octal"], 8)
        return "" if byte in (0, *range(256, 512)) else chr(byte) if byte < 128 else chr(0xDC00 + byte)
    point = int(found["short"] or found["long"], 16)
    if point == 0 or point > 0x10FFFF:
        return ""
    return chr(point).encode(errors="surrogatepass").decode(errors="surrogateescape")


def _without_split_bytes(word: str) -> str:
    """Escaped bytes that together are a character become that character."""
    if word.isascii():
        return word
    return word.encode(errors="surrogateescape").decode(errors="surrogateescape")


def _skip_whitespace(text: str, at: int) -> int:
    while at < len(text) and text[at] in WHITESPACE:
        at += 1
    return at


def split_words(text: str, escapes: Escapes) -> list[str]:
    """All words of a text. Raises BadWord."""
    words: list[str] = []
    word, at = next_word(text, 0, escapes)
    while word is not None:
        words.append(word)
        word, at = next_word(text, at, escapes)
    return words


def arguments(command: Command, environment: Mapping[str, str]) -> list[str]:
    """The argument list to run: `$NAME` as a word of its own becomes the words of the value (none if it is empty or not set),
    `${NAME}` anywhere the value as it is, `$$` a dollar sign. May be empty if argv[0] itself was an empty variable."""
    if not command.expand:
        return list(command.argv)
    words: list[str] = []
    for word in command.argv:
        if word.startswith("$") and not word.startswith(("${", "$$")):
            words += split_words(environment.get(word[1:], ""), Escapes.LITERAL)
        else:
            words.append(_VARIABLE.sub(lambda found: _value(found, environment), word))
    return words


def _value(found: re.Match[str], environment: Mapping[str, str]) -> str:
    if found[0] == "$$":
        return "$"
    return environment.get(found[1], "") if found[2] == "}" else found[0]
