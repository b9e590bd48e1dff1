"""Regular expressions whose matching takes time in proportion to pattern and text, whatever the pattern: users write them.

The part of RE2's syntax that classic Swarm's expressions allow: literals, `.`, `[classes]`, `( )`, `|`, `*`, `+`, `?`, `^`, `$`, escapes,
and `(?i)` in front. There are no counts in braces and no back-references.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from argosy.errors import InvalidInput

LONGEST = 200
"""Characters of a pattern; groups nest no deeper than half of that."""

_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
_ESCAPES = frozenset("dDwWsStnrfv")

Instruction = tuple[str, Callable[[str], bool] | None, int, int]
"""(operation, test, first target, second target): a character that passes the test, a split, or an assertion (^ $)."""


class Regex:
    """A compiled pattern. Raises InvalidInput for one that is malformed."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > LONGEST:
            raise InvalidInput(f"regular expression of {len(pattern)} characters: the most is {LONGEST}")
        self._whole = pattern
        self._flags = re.IGNORECASE if pattern.startswith("(?i)") else 0
        self._rest = pattern.removeprefix("(?i)")
        self._code: list[Instruction] = []
        self._alternatives()
        if self._rest:
            raise self._malformed("a ')' without its '('")
        self._code.append(("match", None, 0, 0))

    def search(self, text: str) -> bool:
        """Return whether the pattern matches anywhere in the text."""
        states: set[int] = set()
        for at in range(len(text) + 1):
            self._follow(0, at, len(text), states)
            if len(self._code) - 1 in states:
                return True
            if at < len(text):
                passed = [state for state in states if self._passes(state, text[at])]
                states = set()
                for state in passed:
                    self._follow(state + 1, at + 1, len(text), states)
        return False

    def _passes(self, state: int, character: str) -> bool:
        test = self._code[state][1]
        return test is not None and test(character)

    def _follow(self, state: int, at: int, end: int, into: set[int]) -> None:
        """Add every instruction that is reached from this one without reading a character."""
        todo = [state]
        while todo:
            state = todo.pop()
            if state in into:
                continue
            into.add(state)
            operation, _, first, second = self._code[state]
            if operation == "split":
                todo += (first, second)
            elif (operation == "^" and at == 0) or (operation == "$" and at == end):
                todo.append(state + 1)

    # Compiling

    def _alternatives(self) -> None:
        start = len(self._code)
        self._sequence()
        while self._rest.startswith("|"):
            self._rest = self._rest[1:]
            self._insert(start, len(self._code) + 2 - start)
            end = len(self._code)
            self._code.append(("split", None, 0, 0))
            self._sequence()
            self._code[end] = ("split", None, len(self._code), len(self._code))

    def _sequence(self) -> None:
        while self._rest and self._rest[0] not in "|)":
            start = len(self._code)
            self._one()
            sign = self._rest[:1]
            if sign not in ("*", "+", "?"):
                continue
            self._rest = self._rest[1:].removeprefix("?")  # a lazy repetition matches no other texts
            if self._rest[:1] in ("*", "+", "?"):
                raise self._malformed("one repetition follows another")
            if sign != "+":
                self._insert(start, len(self._code) + (2 if sign == "*" else 1) - start)
            if sign != "?":
                self._code.append(("split", None, start, len(self._code) + 1))

    def _insert(self, start: int, skip: int) -> None:
        """Put a split in front of the code from `start` on, to what follows it or `skip` further on."""
        moved = [
            (operation, test, first + 1, second + 1) if operation == "split" else (operation, test, first, second)
            for operation, test, first, second in self._code[start:]
        ]
        self._code[start:] = [("split", None, start + 1, start + skip), *moved]

    def _one(self) -> None:
        character = self._rest[0]
        if character == "(":
            self._rest = self._rest[1:].removeprefix("?:")
            self._alternatives()
            if not self._rest.startswith(")"):
                raise self._malformed("a '(' without its ')'")
            self._rest = self._rest[1:]
        elif character in "*+?":
            raise self._malformed(f"{character!r} has nothing to repeat")
        elif character in "^$":
            self._code.append((character, None, 0, 0))
            self._rest = self._rest[1:]
        else:
            found = _CLASS.match(self._rest) if character == "[" else None
            size = found.end() if found else 2 if character == "\\" else 1
            atom, self._rest = self._rest[:size], self._rest[size:]
            if atom in ("[", "\\") or (atom[0] == "\\" and atom[1].isalnum() and atom[1] not in _ESCAPES):
                raise self._malformed(f"{atom!r} is not complete or not known")
            try:
                compiled = re.compile(atom, self._flags | re.DOTALL)
            except re.error as error:
                raise self._malformed(str(error)) from None
            self._code.append(("character", lambda text: compiled.fullmatch(text) is not None, 0, 0))

    def _malformed(self, reason: str) -> InvalidInput:
        return InvalidInput(f"malformed regular expression /{self._whole}/: {reason}")


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> Regex:
    return Regex(pattern)
