"""What a unit's text says to placement, read only as far as it says anything."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from argosy.errors import InvalidUnit
from argosy.model import Job
from argosy.requirements import NOTHING
from argosy.unit.names import check_name, is_template
from argosy.unit.options import is_oneshot, remains_after_exit, requirements
from argosy.unit.parse import LARGEST_FILE, UnitFile, parse
from argosy.unit.quadlet.reading import looks_like_one

SMALL = LARGEST_FILE // 4
"""Characters; a longer text may be larger than a unit file can be, once encoded."""


class Reading(msgspec.Struct, frozen=True):
    """A unit as placement and engine know it. `ends`: a oneshot that is finished when it has ended (no RemainAfterExit=). `error` says why
    the unit cannot be placed anywhere; `job` is then without requirements."""

    job: Job
    ends: bool = False
    error: str = ""


def read(name: str, text: str) -> Reading:
    """Never raises: a name or a text that cannot be read is an `error`."""
    try:
        check_name(name)
        if is_template(name):
            return Reading(Job(name, NOTHING), error=f"{name} is a template: start an instance of it")
        if len(text) <= SMALL and "X-" not in text and "neshot" not in text and not looks_like_one(text):
            return Reading(Job(name, NOTHING))  # nothing in it concerns placement; most units end here
        file = _file(text)
        wanted = requirements(name, file)
    except InvalidUnit as error:
        return Reading(Job(name, NOTHING), error=str(error))
    if wanted.binds_to:
        wanted = msgspec.structs.replace(wanted, binds_to=())
    return Reading(Job(name, NOTHING if wanted == NOTHING else wanted), is_oneshot(file) and not remains_after_exit(file))


def text_hash(text: str) -> str:
    """The hash that agents report for this text; "" for a text that cannot be read."""
    try:
        return _file(text).hash
    except InvalidUnit:
        return ""


@lru_cache(maxsize=256)
def _file(text: str) -> UnitFile:
    return parse(text)
