"""Where things live by default: the folders of this machine's agent and of its labs. Light: every verb of the command line begins here."""

from __future__ import annotations

from collections.abc import Mapping


def default_dirs(environ: Mapping[str, str], uid: int) -> tuple[str, str]:
    """(state, run) folders: the system's for root, the user's own otherwise (XDG base directories)."""
    if uid == 0:
        return "/var/lib/argosy", "/run/argosy"
    home = environ.get("HOME") or f"/tmp/argosy-{uid}"
    state = environ.get("XDG_STATE_HOME") or f"{home}/.local/state"
    runtime = environ.get("XDG_RUNTIME_DIR")
    return f"{state}/argosy", f"{runtime}/argosy" if runtime else f"{state}/argosy/run"


def lab_root(environ: Mapping[str, str], uid: int) -> str:
    """The folder that holds all labs of this user."""
    if uid == 0:
        return "/var/lib/argosy-lab"
    state = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME') or '/tmp'}/.local/state"
    return f"{state}/argosy-lab"
