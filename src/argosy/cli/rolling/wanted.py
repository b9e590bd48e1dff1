"""From the words of a command to what is changed: which units, to which texts. Decides and touches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from argosy.cli.cluster import View
from argosy.cli.files import Given
from argosy.errors import Conflict, InvalidInput, NotFound
from argosy.unit.names import is_template, template_of
from argosy.unit.parse import parse


class Change(msgspec.Struct, frozen=True):
    """What is wished of a unit: `text` (with its `hash`) in place of `before`, or the same text started anew (""). `revision`:
    at which it was read, and at which it must still stand when it is told."""

    name: str
    text: str = ""
    hash: str = ""
    before: str = ""
    before_hash: str = ""
    launched: bool = True
    everywhere: bool = False
    revision: int = 0

    @property
    def restarts(self) -> bool:
        """Whether it needs a new launch. Other comments are no reason to; nor is another text on every machine, which restarts it where it
        comes: going back, the machines that it has not come to shall not notice."""
        return self.launched and (not self.text or (self.hash != self.before_hash and not self.everywhere))


class Wanted(msgspec.Struct, frozen=True):
    """`names` are the units that the command is about, `changes` what is wished of those that are not so yet; `templates` are the texts
    that templates get when all have come well, by name."""

    names: tuple[str, ...]
    changes: Mapping[str, Change]
    templates: Mapping[str, str] = {}


def updates(given: Sequence[Given], known: Mapping[str, View], *, from_template: bool = False) -> Wanted:
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
        if text and text != known.get(one.name, {}).get("text"):
            templates[one.name] = text
    changes = {}
    for name, text in names.items():
        change = _change(name, text, known)
        if change is not None:
            changes[name] = change
    return Wanted(tuple(names), changes, templates)


def restarts(names: Sequence[str], known: Mapping[str, View]) -> Wanted:
    """The same texts started anew. Raises NotFound, and Conflict for a unit that is not asked to run."""
    for name in names:
        if name not in known:
            raise NotFound(f"unit {name} does not exist", remedy="argosy list-unit-files shows those that do")
        if known[name]["target"] != "launched":
            raise Conflict(f"unit {name} is not launched: its target is {known[name]['target']}", remedy=f"argosy start {name} starts it")
    return Wanted(tuple(names), {name: Change(name, revision=known[name].get("revision", 0)) for name in names})


def _change(name: str, text: str, known: Mapping[str, View]) -> Change | None:
    """None: the unit has this text already."""
    unit = known.get(name)
    if unit is None:
        raise NotFound(f"the cluster does not know {name}", remedy="argosy start starts it")
    text = text or _of_template(name, known)
    before = unit.get("text", "")
    if text == before:
        return None
    return Change(
        name,
        text,
        parse(text).hash,
        before,
        unit.get("hash", ""),
        unit["target"] == "launched",
        unit.get("everywhere", False),
        unit.get("revision", 0),
    )


def _of_template(name: str, known: Mapping[str, View]) -> str:
    template = template_of(name)
    if not template:
        raise InvalidInput(f"there is no file {name} here, so there is nothing to update it to", remedy="name the file with its folder")
    text = known.get(template, {}).get("text", "")
    if not text:
        raise NotFound(
            f"neither a file of {name} or {template} is here, nor {template} in the cluster", remedy="name the file with its folder"
        )
    return str(text)
