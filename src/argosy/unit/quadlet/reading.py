"""What a Quadlet file says: its kind, its names, and its values, split as Quadlet splits them.

A file is known by its section, not by its name: `web.container` becomes the unit `web.service`, whose text is the file's, byte for byte.
"""

from __future__ import annotations

from argosy.errors import InvalidUnit
from argosy.unit.command import BadWord, Escapes, split_words
from argosy.unit.names import shown
from argosy.unit.parse import WHITESPACE, Option, UnitFile
from argosy.unit.quadlet.keys import KEYS
from argosy.unit.quadlet.names import is_file_name, referred

TRUE = ("1", "yes", "true", "on")
FALSE = ("0", "no", "false", "off")


def kind_of(file: UnitFile) -> str:
    """Container, Volume or Network: the first of these sections that the file has, with or without keys; "" for an ordinary unit file."""
    return next((section for section in file.headers if section in KEYS), "")


def looks_like_one(text: str) -> bool:
    """Whether the text may be a Quadlet file: quick, and never wrongly no."""
    return "[Container]" in text or "[Volume]" in text or "[Network]" in text


def resource_name(unit: str, file: UnitFile) -> str:
    """The container, volume or network that this unit makes, with systemd's specifiers in it."""
    kind = kind_of(file)
    own = last(file, kind, f"{kind}Name")
    if own:
        return own
    if kind == "Container":
        return "systemd-%p_%i" if "@" in unit else "systemd-%N"
    prefix, at, _ = unit.rpartition(".")[0].partition("@")
    base = prefix.removesuffix(f"-{kind.lower()}") or prefix
    return f"systemd-{base}-%i" if at else f"systemd-{base}"


def line_of(file: UnitFile, section: str, name: str) -> int:
    """Where a key stands last, 0 if it does not."""
    return next((option.line for option in reversed(file.options) if option.section == section and option.name == name), 0)


def value_of(option: Option) -> str:
    """A value as Quadlet joins its lines: stripped, and without the blank that systemd puts between."""
    if "\n" not in option.value:
        return option.joined
    first, *rest = (line.strip(WHITESPACE) for line in option.value.split("\n"))
    lines = [first, *(line for line in rest if not line.startswith(("#", ";")))]
    return "".join(line[:-1] if line.endswith("\\") else line for line in lines).strip(WHITESPACE)


def each(file: UnitFile, section: str, name: str) -> list[str]:
    """The values of all lines; an empty one drops those before it."""
    found: list[str] = []
    for option in file.options:
        if option.section == section and option.name == name:
            value = value_of(option)
            if value:
                found.append(value)
            else:
                found.clear()
    return found


def raw(file: UnitFile, section: str, name: str) -> str:
    """The last line's value with its quotes, for what is split into words; "" if there is none."""
    return next((value_of(option) for option in reversed(file.options) if option.section == section and option.name == name), "")


def last(file: UnitFile, section: str, name: str) -> str | None:
    """The last line's value, a pair of double quotes around it taken off; None if there is no such line. It may be empty."""
    for option in reversed(file.options):
        if option.section == section and option.name == name:
            value = value_of(option)
            return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value
    return None


def switch(file: UnitFile, section: str, name: str) -> bool | None:
    """None if it is not set. Raises InvalidUnit for a word that is neither yes nor no (Podman takes it for no)."""
    value = last(file, section, name)
    if not value:
        return None
    if value.lower() in TRUE:
        return True
    if value.lower() in FALSE:
        return False
    raise InvalidUnit(f"{name}={shown(value)} is neither yes nor no")


def words(file: UnitFile, section: str, name: str) -> list[str]:
    """The words of all lines; quotes group, a backslash is an ordinary character."""
    return [word for value in each(file, section, name) for word in _plain_words(name, value)]


def arguments(file: UnitFile, section: str, name: str) -> list[str]:
    """The words of all lines, with quotes and C escapes."""
    return [word for value in each(file, section, name) for word in split(name, value)]


def pairs(file: UnitFile, section: str, name: str) -> list[str]:
    """The key=value words of all lines, the last of a key, in the order of keys."""
    found = {word.partition("=")[0]: word for word in arguments(file, section, name)}
    return [found[key] for key in sorted(found)]


def split(name: str, value: str) -> list[str]:
    """The words of one value. Raises InvalidUnit for an open quote or an escape that nobody knows."""
    try:
        return split_words(value, Escapes.STRICT)
    except BadWord:
        raise InvalidUnit(
            f"{name}={shown(value)} has an open quote or an unknown escape", remedy='write \\" or \\\\ for the character'
        ) from None


def _plain_words(name: str, value: str) -> list[str]:
    found: list[str] = []
    quote = ""
    inside = False
    for character in value:
        if quote:
            if character == quote:
                quote = ""
            else:
                found[-1] += character
        elif character in WHITESPACE:
            inside = False
        else:
            if not inside:
                found.append("")
                inside = True
            if character in "'\"":
                quote = character
            else:
                found[-1] += character
    if quote:
        raise InvalidUnit(f"{name}={shown(value)} has an open quote")
    return found


def references(file: UnitFile) -> tuple[str, ...]:
    """The Quadlet files that this one needs on its machine: volumes, networks and containers."""
    kind = kind_of(file)
    if kind != "Container":
        return ()
    found = [value.partition(":")[0] for key in ("Volume", "Network") for value in each(file, kind, key)]
    for value in arguments(file, kind, "Mount"):
        found += [part.partition("=")[2] for part in value.split(",") if part.startswith(("source=", "src="))]
    return tuple(dict.fromkeys(word for word in found if is_file_name(word) and "/" not in word))


def joined_containers(name: str, file: UnitFile) -> list[str]:
    """The units whose container's network the unit `name` joins (Network=NAME.container): it must run beside them."""
    return [referred(reference, name) for reference in references(file) if reference.endswith(".container")]
