"""Finding a lab from outside: its name, its folder, its machines' sockets. Light, because the command line looks here for whom to ask."""

from __future__ import annotations

import json
import os
import re

from argosy.errors import InvalidInput, NotFound
from argosy.folders import lab_root

NAME = re.compile(r"[a-z][a-z0-9-]{0,23}")


def check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot be a lab's name", remedy="a letter, then letters, digits and hyphens, at most 24, all lower case"
        )
    return name


def read(name: str, base: str = "") -> bytes:
    """The record of a lab that exists, as it is kept (`state.LabRecord`). Raises NotFound for one that does not, InvalidInput for a name
    or a file that is broken. `base`: the folder of all labs ("": this user's own)."""
    path = f"{base or lab_root(os.environ, os.getuid())}/{check_name(name)}/lab.json"
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise NotFound(f"there is no lab {name!r} on this host", remedy=f"argosy lab up --name {name}") from error
    except OSError as error:
        raise broken(path, error.strerror or str(error), name) from error


def broken(path: str, why: str, name: str) -> InvalidInput:
    return InvalidInput(f"{path} cannot be read: {why}", remedy=f"argosy lab down --name {name}")


def sockets(name: str, base: str = "") -> tuple[str, ...]:
    """The API sockets of a lab's machines, m1's first, those whose power was cut last: ask the first that answers. Raises as `read`."""
    data = read(name, base)
    try:
        record = json.loads(data)
        machines = sorted(record["machines"], key=lambda machine: (machine.get("off", False), machine["number"]))
        return tuple(f"{record['folder']}/{machine['name']}/run/argosy.sock" for machine in machines)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise broken(f"the record of lab {name}", str(error), name) from error
