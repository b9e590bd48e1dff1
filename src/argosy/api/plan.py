"""From a wish to the unit that should be written: the rules of submitting, starting, stopping and replacing. Decides and touches nothing.

Wishing "launched" for a unit that is launched already changes nothing (see `launches`).
"""

from __future__ import annotations

import msgspec

from argosy.api.shapes import Wish
from argosy.errors import Conflict, InvalidInput, InvalidUnit, NotFound
from argosy.launches import count_launch
from argosy.model import Target, Unit
from argosy.state.desired import Stored
from argosy.unit.names import check_name, is_template, template_of
from argosy.unit.text import unit_text
from argosy.unit.validate import validate


class Change(msgspec.Struct, frozen=True):
    """The unit as it should be written, on the condition that it stands at `revision` (0: not at all), and why. `changed` is false if it
    stands so already."""

    unit: Unit
    revision: int
    changed: bool
    reason: str

    @property
    def created(self) -> bool:
        return self.revision == 0


def change(name: str, wish: Wish, current: Stored | None, template: Unit | None, now: float) -> Change:
    """What the wish makes of the unit that stands (`current`) and its stored `template` (None: none, or no instance).

    Raises InvalidUnit for a bad name or text, NotFound for a unit that is to be made of nothing, and Conflict for a wrong revision or a
    different text without `replace`.
    """
    check_name(name)
    stands = current.revision if current else 0
    if wish.revision is not None and wish.revision != stands:
        raise Conflict(f"unit {name} {_where(stands)}, not at revision {wish.revision}", remedy="read it again: somebody was faster")
    if current is None:
        unit = _created(name, wish, template, now)
        reason = "created"
    else:
        unit, reason = _retexted(current.unit, wish)
    target = Target.LAUNCHED if wish.restart and wish.target is None else wish.target or unit.target
    unit, why = _aimed(unit, target, wish.restart)
    changed = current is None or unit != current.unit
    return Change(unit, stands, changed, "; ".join(filter(None, (reason, why))) or "already so")


def _where(revision: int) -> str:
    return f"stands at revision {revision}" if revision else "does not exist"


def _created(name: str, wish: Wish, template: Unit | None, now: float) -> Unit:
    if wish.text is not None:
        validate(name, wish.text)
        return Unit(name, wish.text, submitted=now)
    parent = template_of(name)
    if template is not None:
        validate(name, template.text)
        return Unit(name, template.text, submitted=now)
    if parent:
        raise NotFound(f"unit {name} does not exist, and neither does its template {parent}", remedy=f"submit {name} or {parent} first")
    raise NotFound(f"unit {name} does not exist", remedy="submit its file first")


def _retexted(unit: Unit, wish: Wish) -> tuple[Unit, str]:
    if wish.text is None or wish.text == unit.text:
        return unit, ""
    validate(unit.name, wish.text)
    if not wish.replace:
        if unit_text(unit.text).hash == unit_text(wish.text).hash:
            return unit, ""
        raise Conflict(f"unit {unit.name} exists with another text", remedy="replace it (--replace), or destroy it first")
    return msgspec.structs.replace(unit, text=wish.text), "text replaced"


def _aimed(unit: Unit, target: Target, restart: bool) -> tuple[Unit, str]:
    if is_template(unit.name) and target is not Target.INACTIVE:
        raise InvalidUnit(f'cannot activate template "{unit.name}"', remedy=f"name an instance, such as {_example_instance(unit.name)}")
    if restart and target is not Target.LAUNCHED:
        raise InvalidInput(f"unit {unit.name}: restart is asked for and target {target.value} too", remedy="leave one of them out")
    aimed = msgspec.structs.replace(unit, target=target, launch=count_launch(unit.launch, unit.target, target, restart=restart))
    if aimed == unit:
        return unit, ""
    return aimed, "restart" if restart else f"target {target.value}"


def _example_instance(template: str) -> str:
    stem, _, kind = template.rpartition(".")
    return f"{stem}1.{kind}"
