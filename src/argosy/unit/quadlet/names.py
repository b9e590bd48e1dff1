"""Names of Quadlet files and of the units that they make. Loads next to nothing: every command of a person goes through here."""

from __future__ import annotations

ENDINGS = ("container", "volume", "network")
NOT_HERE = ("pod", "kube", "image", "build", "artifact")
"""Quadlet files that need Podman itself."""
NOT_KNOWN = ".{} files are not known here; of Quadlet's files there are .container, .volume and .network"

KEYS_LABEL = "argosy.keys=write"
"""The label of a container that may write keys."""


def is_file_name(name: str) -> bool:
    return name.rpartition(".")[2] in ENDINGS


def foreign_kind(name: str) -> str:
    """pod, kube, ... of a Quadlet file that is not known here; "" of any other name."""
    kind = name.rpartition(".")[2]
    return kind if kind in NOT_HERE else ""


def unit_name(name: str) -> str:
    """The unit that a Quadlet file makes: web.service of web.container, data-volume.service of data.volume, app-network@.service of
    app@.network. Any other name stays as it is."""
    stem, _, kind = name.rpartition(".")
    if kind not in ENDINGS or not stem:
        return name
    prefix, at, instance = stem.partition("@")
    extra = "" if kind == "container" else f"-{kind}"
    return f"{prefix}{extra}{at}{instance}.service"


def referred(reference: str, name: str) -> str:
    """The unit that the unit `name` means by a Quadlet file's name: of a template such as data@.volume, the instance that `name` itself is
    (data-volume@1.service for web@1.service). Without an instance of its own it is the template."""
    stem, _, kind = reference.rpartition(".")
    if kind in ENDINGS and stem.endswith("@"):
        return unit_name(f"{stem}{name.rpartition('.')[0].partition('@')[2]}.{kind}")
    return unit_name(reference)


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
