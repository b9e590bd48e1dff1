"""From the words of a command to what is changed: which units, to which texts. Decides and touches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from argosy.api.shapes import RolloutOrder, RolloutUnitOrder, UnitView
from argosy.cli.files import Given
from argosy.errors import Conflict, InvalidInput, NotFound
from argosy.unit.names import is_template, template_of


class Wanted(NamedTuple):
    """`names` are the units that the command is about, `texts` the new texts of those that get one; `templates` are the texts that
    templates get when all have come well, by name. `revisions`: of all of them, where they stand. `restart`: units are started anew."""

    names: tuple[str, ...]
    revisions: Mapping[str, int]
    texts: Mapping[str, str] = {}
    templates: Mapping[str, str] = {}
    restart: bool = False

    def order(self, **rules: Any) -> RolloutOrder:
        """The order that the API takes."""
        texts = [*dict.fromkeys([*self.texts.values(), *self.templates.values()])]
        places = {name: texts.index(text) for name, text in self.texts.items() if not self.restart}
        units = [RolloutUnitOrder(name, self.revisions[name], places.get(name), self.restart) for name in self.names]
        templates = [RolloutUnitOrder(name, self.revisions.get(name, 0), texts.index(text)) for name, text in self.templates.items()]
        return RolloutOrder(units, texts, templates, **rules)


def updates(given: Sequence[Given], known: Mapping[str, UnitView], *, from_template: bool = False) -> Wanted:
    """A template stands for all its instances, and gets its text last. An instance takes the text of its own file here, of its template's
    file here, or of its template in the cluster (`from_template`: of that only). Raises NotFound for a unit that the cluster does not know,
    InvalidInput for one without a text to update it to."""
    names: dict[str, str] = {}
    templates: dict[str, str] = {}
    for one in given:
        text = "" if from_template or one.file is None else one.file.text
        if not is_template(one.name):
            names[one.name] = text or names.get(one.name, "")
            continue
        instances = sorted(name for name in known if template_of(name) == one.name and name != one.name)
        if not instances and one.name not in known:
            raise NotFound(
                f"the cluster knows neither {one.name} nor an instance of it", remedy="argosy submit and start are for new units"
            )
        for name in instances:
            names.setdefault(name, text)
        template = known.get(one.name)
        if text and (template is None or text != template.text):
            templates[one.name] = text
    changed = {name: wanted for name, text in names.items() if (wanted := _text(name, text, known))}
    revisions = {name: known[name].revision for name in (*names, *templates) if name in known}
    return Wanted(tuple(names), revisions, changed, templates)


def restarts(names: Sequence[str], known: Mapping[str, UnitView]) -> Wanted:
    """The same texts started anew. Raises NotFound, and Conflict for a unit that is not asked to run."""
    for name in names:
        if name not in known:
            raise NotFound(f"unit {name} does not exist", remedy="argosy list-unit-files shows those that do")
        if known[name].target != "launched":
            raise Conflict(f"unit {name} is not launched: its target is {known[name].target}", remedy=f"argosy start {name} starts it")
    return Wanted(tuple(names), {name: known[name].revision for name in names}, restart=True)


def _text(name: str, text: str, known: Mapping[str, UnitView]) -> str:
    """The text that the unit gets; "" if it has that already."""
    unit = known.get(name)
    if unit is None:
        raise NotFound(f"the cluster does not know {name}", remedy="argosy start starts it")
    text = text or _of_template(name, known)
    return "" if text == unit.text else text


def _of_template(name: str, known: Mapping[str, UnitView]) -> str:
    template = template_of(name)
    if not template:
        raise InvalidInput(f"there is no file {name} here, so there is nothing to update it to", remedy="name the file with its folder")
    if template not in known or not known[template].text:
        raise NotFound(
            f"neither a file of {name} or {template} is here, nor {template} in the cluster", remedy="name the file with its folder"
        )
    return known[template].text
