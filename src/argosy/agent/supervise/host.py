"""What specifiers stand for on this host (%H, %m, %v, ...)."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from msgspec.structs import replace

from argosy.agent.supervise.saved import Settings
from argosy.unit.specifiers import Specifiers

_ARCHITECTURES = {"x86_64": "x86-64", "aarch64": "arm64", "i686": "x86", "armv7l": "arm"}
_RELEASE = {"ID": "os_id", "VERSION_ID": "os_version", "BUILD_ID": "os_build", "VARIANT_ID": "os_variant"}


def specifiers(settings: Settings, boot: str) -> Specifiers:
    """All but the unit's name and file. What the agent says of the machine goes before what the host says."""
    system = os.uname()
    found = Specifiers(
        name="",
        machine_id=settings.machine_id or next(iter(_lines("/etc/machine-id")), ""),
        boot_id=boot.replace("-", ""),
        host=settings.host or system.nodename,
        kernel=system.release,
        architecture=_ARCHITECTURES.get(system.machine, system.machine),
    )
    release = dict(line.split("=", 1) for line in _lines("/etc/os-release") if "=" in line)
    found = replace(found, **{field: release[name].strip("\"'") for name, field in _RELEASE.items() if name in release})
    return found if os.geteuid() == 0 else _of_user(found)


def _of_user(found: Specifiers) -> Specifiers:
    """As in a user's own systemd."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwuid(uid)
        found = replace(found, user=entry.pw_name, home=entry.pw_dir, shell=entry.pw_shell)
    except KeyError:
        found = replace(found, user=str(uid), home="/")
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    home = found.home.rstrip("/")
    state = os.environ.get("XDG_STATE_HOME") or f"{home}/.local/state"
    return replace(
        found,
        uid=uid,
        gid=gid,
        group=group,
        runtime_directory=os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}",
        state_directory=state,
        cache_directory=os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache",
        logs_directory=f"{state}/log",
        configuration_directory=os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config",
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []
