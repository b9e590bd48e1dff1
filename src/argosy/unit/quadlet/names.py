"""Names of Quadlet files and of the units that they make. Loads next to nothing: every command of a person goes through here."""

from __future__ import annotations

ENDINGS = ("container", "volume", "network")


def is_file_name(name: str) -> bool:
    return name.rpartition(".")[2] in ENDINGS


def unit_name(name: str) -> str:
    """The unit that a Quadlet file makes: web.service of web.container, data-volume.service of data.volume, app-network@.service of
    app@.network. Any other name stays as it is."""
    stem, _, kind = name.rpartition(".")
    if kind not in ENDINGS or not stem:
        return name
    prefix, at, instance = stem.partition("@")
    extra = "" if kind == "container" else f"-{kind}"
    return f"{prefix}{extra}{at}{instance}.service"


def file_names(unit: str) -> tuple[str, ...]:
    """The Quadlet files that make this unit, the likelier first."""
    stem, _, kind = unit.rpartition(".")
    if kind != "service":
        return ()
    prefix, at, instance = stem.partition("@")
    found = [f"{stem}.container"]
    for other in ("volume", "network"):
        base = prefix.removesuffix(f"-{other}")
        if base and base != prefix:
            found.append(f"{base}{at}{instance}.{other}")
    return tuple(found)
