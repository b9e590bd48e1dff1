"""What the doors must know of a unit's text and name, read once for each text. Pure."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from argosy.errors import ArgosyError, InvalidUnit, TooLarge
from argosy.requirements import NOTHING, Requirements
from argosy.unit import names, options
from argosy.unit.parse import LARGEST_FILE, Option, UnitFile, checked, parse
from argosy.unit.quadlet.check import check as check_quadlet
from argosy.unit.quadlet.reading import kind_of

is_template = names.is_template
template_of = names.template_of


class Reading(msgspec.Struct, frozen=True):
    """What a stored text says. A text that cannot be read gives empty fields and `error`."""

    hash: str = ""
    description: str = ""
    requirements: Requirements = NOTHING
    options: tuple[Option, ...] = ()
    error: str = ""

    @property
    def everywhere(self) -> bool:
        return self.requirements.everywhere


@lru_cache(maxsize=16384)
def _read_text(text: str) -> UnitFile:
    return parse(text)


@lru_cache(maxsize=16384)
def read(name: str, text: str) -> Reading:
    try:
        file = _read_text(text)
    except InvalidUnit as error:
        return Reading(error=error.message)
    found = Reading(file.hash, file.last("Unit", "Description") or "", options=file.options)
    try:
        return msgspec.structs.replace(found, requirements=options.requirements(name, file))
    except InvalidUnit as error:
        return msgspec.structs.replace(found, error=error.message)


def check_name(name: str) -> None:
    """Raises InvalidUnit."""
    names.check_name(name)


def check(name: str, text: str) -> UnitFile:
    """A text that may be stored under this name. Raises InvalidUnit, and TooLarge for one that is larger than a unit may be."""
    if len(text) > LARGEST_FILE or len(text.encode("utf-8", "replace")) > LARGEST_FILE:
        raise TooLarge(
            f"unit {name} has {len(text)} characters; at most {LARGEST_FILE} bytes are taken", remedy="keep data out of unit files"
        )
    file = checked(name, text)
    if kind_of(file):
        check_quadlet(name, file)
    options.requirements(name, file)
    return file


def same(first: str, second: str) -> bool:
    """Two texts that mean the same: their options are equal, whatever their comments."""
    try:
        return parse(first).hash == parse(second).hash
    except ArgosyError:
        return False


def example_instance(template: str) -> str:
    stem, _, kind = template.rpartition(".")
    return f"{stem}1.{kind}"
