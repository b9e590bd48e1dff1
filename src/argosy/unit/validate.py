"""What a text must be to be stored under a name. `verify` says more, for the person who writes it."""

from __future__ import annotations

from argosy.errors import InvalidUnit, TooLarge
from argosy.unit.names import check_name, prefix_of
from argosy.unit.parse import LARGEST_FILE, SOURCE, Problem, UnitFile
from argosy.unit.quadlet.check import check as check_quadlet
from argosy.unit.text import UnitText, unit_text

_SHOWN_PROBLEMS = 10


def validate(name: str, text: str) -> UnitText:
    """Return the text if it may be stored under this name. Raises InvalidUnit listing everything that is wrong, TooLarge for a text that is
    larger than a unit may be."""
    if len(text) > LARGEST_FILE or len(text.encode("utf-8", "replace")) > LARGEST_FILE:
        raise TooLarge(
            f"unit {name} has {len(text)} characters; at most {LARGEST_FILE} bytes are taken", remedy="keep data out of unit files"
        )
    check_name(name)
    found = unit_text(text)
    if found.unreadable is not None:
        raise InvalidUnit(f"{name}: {found.unreadable.message}", remedy=found.unreadable.remedy)
    file = found.file
    errors = [*file.errors, *_breaks_systemd(name, file), *_claims_a_source(file)]
    if errors:
        more = f"; and {len(errors) - _SHOWN_PROBLEMS} more" if len(errors) > _SHOWN_PROBLEMS else ""
        raise InvalidUnit(f"{name}: " + "; ".join(map(str, errors[:_SHOWN_PROBLEMS])) + more)
    if found.kind:
        check_quadlet(name, file)
    refusal = found.refusal(name)
    if refusal is not None:
        raise InvalidUnit(refusal.message, remedy=refusal.remedy)
    return found


def _breaks_systemd(name: str, file: UnitFile) -> list[Problem]:
    """systemd 252 itself aborts, and its machine with it, when it expands %J in a unit whose prefix ends in a dash: never let one in."""
    if not prefix_of(name).endswith("-"):
        return []
    message = f"%J in {name} would abort systemd, as the prefix of the name ends in '-'; use %j or another name"
    return [Problem(option.line, "error", message) for option in file.options if "%J" in option.value]


def _claims_a_source(file: UnitFile) -> list[Problem]:
    return [Problem(option.line, "error", f"[{SOURCE}] is Argosy's own") for option in file.options if option.section == SOURCE]
