"""Where things live by default: the folders of this machine's agent and of its labs. Light: every verb of the command line begins here."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING

from argosy.errors import Unsuitable

if TYPE_CHECKING:
    from pathlib import Path


def default_dirs(environ: Mapping[str, str], uid: int) -> tuple[str, str]:
    """(state, run) folders: the system's for root, the user's own otherwise (XDG base directories)."""
    if uid == 0:
        return "/var/lib/argosy", "/run/argosy"
    state = environ.get("XDG_STATE_HOME") or f"{_home(environ, uid)}/.local/state"
    runtime = environ.get("XDG_RUNTIME_DIR")
    return f"{state}/argosy", f"{runtime}/argosy" if runtime else f"{state}/argosy/run"


def lab_root(environ: Mapping[str, str], uid: int) -> str:
    """The folder that holds all labs of this user."""
    if uid == 0:
        return "/var/lib/argosy-lab"
    state = environ.get("XDG_STATE_HOME") or f"{_home(environ, uid)}/.local/state"
    return f"{state}/argosy-lab"


def _home(environ: Mapping[str, str], uid: int) -> str:
    """HOME, or what the user database says, or a folder in /tmp, which `make_own` refuses if somebody else has made it."""
    if environ.get("HOME"):
        return environ["HOME"]
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return f"/tmp/argosy-{uid}"


def make_own(folder: Path, mode: int) -> None:
    """Make the folder, and see that nobody but this user and root can change what is in it: neither it nor a folder above it, up to the
    first that is root's, may belong to somebody else. Raises Unsuitable, and OSError if it cannot be made. Blocks."""
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    me, top = os.geteuid(), os.stat("/").st_uid
    for path in (folder.resolve(), *folder.resolve().parents):
        found = path.stat()
        if found.st_uid not in (me, 0, top):
            raise Unsuitable(
                f"{folder} is not safe: {path} belongs to user {found.st_uid}, who can change what is in it",
                remedy="name another folder in [paths]",
            )
        if found.st_uid != me:
            break
        if found.st_mode & stat.S_IWOTH and path == folder.resolve():
            path.chmod(stat.S_IMODE(found.st_mode) & ~stat.S_IWOTH)
