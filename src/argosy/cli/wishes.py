"""From the files that a person names to what is wished of the cluster: which texts are sent, and what is worth a warning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argosy.api.shapes import NamedWish, UnitView
from argosy.cli.checks import runtimes, warnings
from argosy.cli.client import Client
from argosy.cli.cluster import units
from argosy.cli.files import Given
from argosy.cli.telling import Wishes
from argosy.errors import Conflict
from argosy.model import Target

REPLACEABLE = {
    "submit": ("inactive",),
    "load": ("inactive", "loaded"),
    "start": ("inactive", "loaded", "launched"),
}
"""What a verb's --replace may replace, by the unit's target: a running unit is not stopped by mistake."""


def wishes_for(client: Client, verb: str, wanted: Sequence[Given], *, replace: bool, target: Target | None = None) -> Wishes:
    """Asks the cluster what it knows of the named units, and decides. Warnings of what the files say come along."""
    asked = [name for given in wanted if given.file for name in (given.name, given.template) if name]
    known = {unit.name: unit for unit in units(client, list(dict.fromkeys(asked)))[0]} if asked else {}
    made = decide(verb, wanted, known, replace=replace, target=target)
    if asked:
        made.warnings[:0] = warnings(wanted, runtimes(client))
    return made


def decide(verb: str, wanted: Sequence[Given], known: Mapping[str, UnitView], *, replace: bool, target: Target | None = None) -> Wishes:
    """A unit whose file is here is submitted if the cluster does not know it. An instance takes the text of the cluster's template before
    that of a template here. A text that differs is warned of, or sent if `replace`. Raises Conflict for a unit that `verb` may not
    replace."""
    made = Wishes([], [], [])
    for given in wanted:
        text = None if given.file is None else _text(verb, given, known, replace, made)
        made.wishes.append(NamedWish(name=given.name, text=text, target=target, replace=text is not None and given.name in known))
    return made


def _text(verb: str, given: Given, known: Mapping[str, UnitView], replace: bool, made: Wishes) -> str | None:
    """The text to send, None if it stays."""
    assert given.file is not None
    standing = known.get(given.name) or (known.get(given.template) if given.template else None)
    if standing is None:
        return given.file.text
    fresh = standing.name != given.name
    same = given.file.hash == standing.hash
    if replace and fresh:
        return given.file.text
    if replace and same:
        made.notes.append(f"Found same Unit({given.name}) in Registry, nothing to do")
    elif replace:
        if standing.target not in REPLACEABLE[verb]:
            raise Conflict(
                f"can not replace Unit({given.name}) in state '{standing.target}', use the appropriate command",
                remedy=f"argosy {'start' if standing.target == 'launched' else 'load'} --replace {given.path}",
            )
        return given.file.text
    elif not same:
        kind = "local template unit file" if given.template else "local unit file"
        warning = f"WARNING: Unit {standing.name} in registry differs from {kind} {given.path}. Add --replace to override."
        if warning not in made.warnings:
            made.warnings.append(warning)
    return None
