"""Constraints and affinities in the form of classic Swarm: `storage==ssd`, `node!=web-*`, `operatingsystem==~/debian/`.

Unlike in Swarm, a value may hold `@` (of unit names), everything but `*` stands for itself in a glob, and regular expressions
take linear time.
"""

from __future__ import annotations

import re
from functools import lru_cache

from argosy.errors import InvalidInput
from argosy.placement.regex import compiled
from argosy.requirements import Expression

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9\-_.]+")
_VALUE = re.compile(r"[A-Za-z0-9:@\-_\s.*/()?+\[\]\\^$|]+")


def parse_expression(text: str) -> Expression:
    """Return the expression `KEY==VALUE` or `KEY!=VALUE`; `~` before the value makes it soft. Raises InvalidInput in Swarm's words."""
    found = re.search(r"==|!=", text)
    if found is None:
        raise InvalidInput(f"{text!r}: One of operator ==, != is expected")
    key, value = text[: found.start()], text[found.end() :]
    if not _KEY.fullmatch(key):
        raise InvalidInput(f"Key '{key}' is invalid")
    soft = value.startswith("~")
    pattern = value.removeprefix("~")
    if not _VALUE.fullmatch(pattern):
        raise InvalidInput(f"Value '{value}' is invalid")
    if is_regex(pattern):
        compiled(pattern[1:-1])
    return Expression(key, pattern, found.group() == "!=", soft)


def is_regex(pattern: str) -> bool:
    return len(pattern) >= 2 and pattern[0] == pattern[-1] == "/"


def is_literal(pattern: str) -> bool:
    """Return whether the pattern can match only the very same text."""
    return "*" not in pattern and not is_regex(pattern)


def literal_prefix(pattern: str) -> str:
    """Return what every text that matches begins with."""
    return "" if is_regex(pattern) else pattern.partition("*")[0]


@lru_cache(maxsize=65536)
def matches(pattern: str, text: str) -> bool:
    """Return whether the text matches; a malformed regular expression matches nothing."""
    if is_regex(pattern):
        try:
            return compiled(pattern[1:-1]).search(text)
        except InvalidInput:
            return False
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, last = rest
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
