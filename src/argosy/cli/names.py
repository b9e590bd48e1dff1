"""Names of units as people give them: `hello`, `hello@1`, `./units/hello@1.service`."""

from __future__ import annotations

from collections.abc import Sequence

from argosy.unit.names import check_name, normalize


def known(words: Sequence[str]) -> list[str]:
    """Units that the cluster should know already, each once: only their names matter, also where a path of a file was given. Raises
    InvalidUnit."""
    return list(dict.fromkeys(named(word) for word in words))


def named(word: str) -> str:
    name = normalize(word.rpartition("/")[2])
    check_name(name)
    return name
