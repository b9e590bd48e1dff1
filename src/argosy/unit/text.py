"""A unit's text and all that it means, read once in each process: the value that every reader of a text shares.

`unit_text` gives it, from a table that is bounded; many units (the instances of a template) share one. What depends on the unit's name is
asked for with the name. Nothing here raises for a bad text: errors are values, so that one bad unit stops no reader.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from hashlib import sha1

from argosy.errors import InvalidUnit
from argosy.requirements import NOTHING, Requirements
from argosy.unit.options import BINDING_KEYS, is_oneshot, remains_after_exit, requirements, restart_setting
from argosy.unit.parse import LARGEST_FILE, Problem, UnitFile, parse
from argosy.unit.quadlet import reservations
from argosy.unit.quadlet.reading import kind_of, looks_like_one
from argosy.unit.specifiers import unit_names

SHORT = 8 * 1024
"""Characters; nearly every text is shorter. Of the longer ones fewer are kept, so that nobody fills the memory with them."""
KEPT = 32_768
"""Short texts whose meaning is kept, some 600 bytes each beside the text itself; and units whose requirements depend on their names."""
LONG_KEPT = 256
FILES_KEPT = 2_048
"""Short texts whose single lines are kept too, some 3 kB each: they are rarely asked for once the meaning is known."""
SMALL = LARGEST_FILE // 4
"""Characters; a longer text may be larger than a unit file can be, once encoded."""


class UnitText:
    """One text. Everything else is worked out when it is first asked for. Made by `unit_text` only, and compared by identity."""

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def file(self) -> UnitFile:
        """The text as options with lines; one that cannot be read has none, and a problem."""
        found = _parsed(self.text)
        return found if isinstance(found, UnitFile) else UnitFile(self.text, (), (Problem(0, "error", str(found)),))

    @cached_property
    def unreadable(self) -> InvalidUnit | None:
        """Why the text cannot be read at all."""
        found = _parsed(self.text)
        return found if isinstance(found, InvalidUnit) else None

    @cached_property
    def hash(self) -> str:
        """fleet's hash of the options, 40 hexadecimal digits; of a text that cannot be read the SHA-1 of the text itself."""
        if self.unreadable is not None:
            return sha1(self.text.encode(errors="replace"), usedforsecurity=False).hexdigest()
        return self.file.hash

    @cached_property
    def description(self) -> str:
        """Description=, its specifiers as they are."""
        return self.file.last("Unit", "Description") or ""

    @cached_property
    def kind(self) -> str:
        """Container, Volume or Network; "" for an ordinary unit file."""
        return kind_of(self.file)

    @cached_property
    def oneshot(self) -> bool:
        return is_oneshot(self.file)

    @cached_property
    def ends(self) -> bool:
        """A oneshot that is finished when it has ended: it does not say RemainAfterExit=yes."""
        return self.oneshot and not remains_after_exit(self.file)

    @cached_property
    def retries(self) -> bool:
        """Whether a failure is answered by another attempt: not with Restart=no, nor for a oneshot that does not say Restart=."""
        restart = restart_setting(self.file)
        return restart != "no" and not (self.oneshot and restart is None)

    def requirements(self, name: str) -> Requirements:
        """What the unit `name` asks of the cluster; NOTHING where `refusal` says that it asks what cannot be."""
        found = self._asks(name)
        return found if isinstance(found, Requirements) else NOTHING

    def refusal(self, name: str) -> InvalidUnit | None:
        """Why the unit `name` can be placed nowhere: its text cannot be read, or its requirements break a rule."""
        found = self._asks(name)
        return found if isinstance(found, InvalidUnit) else None

    def dependencies(self, name: str, key: str) -> tuple[str, ...]:
        """The units that the unit `name` lists under a key of [Unit] such as After. Empty assignments do not reset such lists."""
        return tuple(other for value in self.file.assignments("Unit", key) for other in unit_names(value, name))

    def _asks(self, name: str) -> Requirements | InvalidUnit:
        if self._depends_on_name:
            return _expanded(self, name) if len(self.text) <= SHORT else _asked(self, name)
        found = self._asked
        return _asked(self, name) if isinstance(found, Requirements) and name in found.peers else found

    @cached_property
    def _asked(self) -> Requirements | InvalidUnit:
        return _asked(self, "")

    @cached_property
    def _depends_on_name(self) -> bool:
        """Whether requirements hold specifiers, or the Quadlet file refers to a template's file."""
        if self.kind and "@." in self.text:
            return True
        return any(
            option.section == "X-Fleet" or option.name in ((*BINDING_KEYS, *reservations.KEYS) if self.kind else BINDING_KEYS)
            for option in self.file.options
            if "%" in option.value
        )


def unit_text(text: str) -> UnitText:
    """The meaning of a text: the same value for equal texts."""
    return _short(text) if len(text) <= SHORT else _long(text)


def asks_nothing(text: str) -> bool:
    """Whether a text certainly asks nothing of the cluster and does not say Type=oneshot: far quicker than reading it, and true of most."""
    return len(text) <= SMALL and "X-" not in text and "neshot" not in text and not looks_like_one(text)


def _parsed(text: str) -> UnitFile | InvalidUnit:
    return _short_file(text) if len(text) <= SHORT else _long_file(text)


def _parse(text: str) -> UnitFile | InvalidUnit:
    try:
        return parse(text)
    except InvalidUnit as error:
        return error.with_traceback(None)


def _asked(text: UnitText, name: str) -> Requirements | InvalidUnit:
    if text.unreadable is not None:
        return text.unreadable
    try:
        wanted = requirements(name, text.file)
    except InvalidUnit as error:
        return error.with_traceback(None)
    return NOTHING if wanted == NOTHING else _shared(wanted)


@lru_cache(maxsize=4_096)
def _shared(wanted: Requirements) -> Requirements:
    """One value for equal requirements, of which a cluster has few."""
    return wanted


_short = lru_cache(maxsize=KEPT)(UnitText)
_long = lru_cache(maxsize=LONG_KEPT)(UnitText)
_short_file = lru_cache(maxsize=FILES_KEPT)(_parse)
_long_file = lru_cache(maxsize=4)(_parse)
_expanded = lru_cache(maxsize=KEPT)(_asked)
