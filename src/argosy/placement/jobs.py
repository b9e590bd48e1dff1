"""What a unit's text says to placement, read only as far as it says anything."""

from __future__ import annotations

import msgspec

from argosy.errors import InvalidUnit
from argosy.model import Job
from argosy.requirements import NOTHING
from argosy.unit.names import check_name, is_template
from argosy.unit.text import asks_nothing, unit_text


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A unit as placement and engine know it. `ends`: a oneshot that is finished when it has ended (no RemainAfterExit=). `error` says why
    the unit cannot be placed anywhere; `job` is then without requirements."""

    job: Job
    ends: bool = False
    error: str = ""


def read(name: str, text: str) -> Reading:
    """Never raises: a name or a text that cannot be read is an `error`."""
    try:
        check_name(name)
    except InvalidUnit as error:
        return Reading(Job(name, NOTHING), error=str(error))
    if is_template(name):
        return Reading(Job(name, NOTHING), error=f"{name} is a template: start an instance of it")
    if asks_nothing(text):
        return Reading(Job(name, NOTHING))  # most units end here
    found = unit_text(text)
    refusal = found.refusal(name)
    if refusal is not None:
        return Reading(Job(name, NOTHING), error=str(refusal))
    wanted = found.requirements(name)
    if wanted.binds_to:
        wanted = msgspec.structs.replace(wanted, binds_to=())
    return Reading(Job(name, NOTHING if wanted == NOTHING else wanted), found.ends)
