"""Names of units as people give them: `hello`, `hello@1`, `./units/hello@1.service`; and `web.container` for web.service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from argosy.errors import NotFound
from argosy.unit.globs import matches
from argosy.unit.names import check_name, normalize
from argosy.unit.quadlet.names import unit_name

GLOB = frozenset("*?[")


def known(words: Sequence[str]) -> list[str]:
    """Units that the cluster should know already, each once: only their names matter, also where a path of a file was given. Raises
    InvalidUnit."""
    return list(dict.fromkeys(named(word) for word in words))


def named(word: str) -> str:
    name = normalize(unit_name(word.rpartition("/")[2]))
    check_name(name)
    return name


def expanded(words: Sequence[str], names: Iterable[str]) -> list[str]:
    """The words with each glob replaced by the names that it matches, in order; `.service` is added to globs as it is to names. Raises
    NotFound for one that matches none, InvalidUnit for one that is malformed."""
    found: list[str] = []
    for word in words:
        if GLOB.isdisjoint(word) or "/" in word:
            found.append(word)
            continue
        glob = normalize(word)
        matching = sorted(name for name in names if matches(glob, name))
        if not matching:
            raise NotFound(f"no unit matches {word}", remedy="argosy list-unit-files shows those that there are")
        found += matching
    return list(dict.fromkeys(found))
