"""Globs of unit names, as Go's path.Match defines them (Conflicts=, Replaces=).

`*` stands for any characters but `/`, `?` for one that is not `/`, `[a-z]` and `[^a]` for one of a class, `\\` takes the next character
literally; the whole name must match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from argosy.errors import InvalidUnit
from argosy.unit.names import shown

_ANY = "(?s:.)"
_NONE = "(?!)"


def matches(pattern: str, name: str) -> bool:
    """Raises InvalidUnit if the pattern is malformed."""
    if pattern == name and not ("[" in pattern or "\\" in pattern):
        return True
    start, star, end = pattern.partition("*")
    if star and is_literal(start) and is_literal(end):  # most patterns are like this, and compiling one takes longer than placing a unit
        middle = name[len(start) : len(name) - len(end)]
        return len(name) >= len(start) + len(end) and name.startswith(start) and name.endswith(end) and "/" not in middle
    return _compiled(pattern).fullmatch(name) is not None


def check_glob(pattern: str) -> None:
    """Raises InvalidUnit if the pattern is malformed; quick where it cannot be."""
    if "[" in pattern or "\\" in pattern:
        _compiled(pattern)


def is_literal(pattern: str) -> bool:
    """True where the pattern can match only the very same name."""
    return _SPECIAL.search(pattern) is None


def literal_prefix(pattern: str) -> str:
    """The part before the first special character: every name that matches starts with it. For indexes."""
    special = _SPECIAL.search(pattern)
    return pattern[: special.start()] if special else pattern


def conflict(a_name: str, a_globs: Iterable[str], b_name: str, b_globs: Iterable[str]) -> bool:
    """Whether two units refuse to share a machine: either's globs match the other's name. A unit never conflicts with itself."""
    if a_name == b_name:
        return False
    return any(matches(pattern, b_name) for pattern in a_globs) or any(matches(pattern, a_name) for pattern in b_globs)


_SPECIAL = re.compile(r"[*?\[\\]")


@lru_cache(maxsize=8192)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Between two stars the first fit is taken and kept, as Go does: however many stars, a match takes no more than the product of the
    lengths."""
    first, *rest = _chunks(pattern)
    *middle, last = rest or [""]
    star = f"[^/]*?{last}" if last else "[^/]*"
    return re.compile(first + "".join([f"(?>[^/]*?{chunk})" for chunk in middle if chunk]) + (star if rest else ""))


def _chunks(pattern: str) -> list[str]:
    """The regular expressions of what stands before, between and after the stars."""
    chunks = [""]
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        part = re.escape(character)
        if character == "*":
            chunks.append("")
            continue
        if character == "?":
            part = "[^/]"
        elif character == "[":
            part, at = _class(pattern, at)
        elif character == "\\":
            if at == len(pattern):
                raise _malformed(pattern, "it ends in a lone backslash")
            part = re.escape(pattern[at])
            at += 1
        chunks[-1] += part
    return chunks


def _class(pattern: str, at: int) -> tuple[str, int]:
    """The regular expression of a class whose `[` ends before `at`, and where the pattern goes on."""
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    count = 0
    while not (count and pattern.startswith("]", at)):
        low, at = _class_character(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _class_character(pattern, at + 1)
        count += 1
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    if not ranges:
        return (_ANY if negated else _NONE), at + 1
    return f"[{'^' if negated else ''}{''.join(ranges)}]", at + 1


def _class_character(pattern: str, at: int) -> tuple[str, int]:
    if pattern.startswith("\\", at):
        at += 1
    elif pattern.startswith(("-", "]"), at):
        raise _malformed(pattern, f"{pattern[at]!r} stands where a class needs a character; write \\{pattern[at]}")
    if at + 1 >= len(pattern):
        raise _malformed(pattern, "a class is not closed with ']'")
    return pattern[at], at + 1


def _malformed(pattern: str, reason: str) -> InvalidUnit:
    return InvalidUnit(f"malformed glob {shown(pattern)}: {reason}")
