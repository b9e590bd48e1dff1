"""A full machine's disk: the host's own root file system, read only, under a layer of the machine's own in memory.

So a machine has every program of the host and costs nothing to make. What the host is (its name, its services, its own Argosy) is
covered by the machine's layer. Everything here blocks shortly.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import argosy

HIDDEN = (
    "etc/systemd/system", "etc/systemd/network", "etc/rc2.d", "etc/rc3.d", "etc/rc4.d", "etc/rc5.d", "etc/rcS.d", "etc/argosy",
    "etc/docker", "var/lib/etcd", "var/lib/argosy", "var/lib/argosy-lab", "var/lib/docker", "var/lib/containerd", "var/log/journal",
    "var/spool/cron",
)  # fmt: skip
"""Folders of the host that a machine sees empty: what the host runs, schedules and stores is none of its business."""

GENERATORS = ("systemd-getty-generator", "systemd-sysv-generator", "systemd-gpt-auto-generator", "systemd-fstab-generator",
              "systemd-cryptsetup-generator", "systemd-hibernate-resume-generator", "systemd-rc-local-generator")  # fmt: skip
OWN_GENERATORS = "etc/systemd/system-generators"

MASKED = ("getty.target", "console-getty.service", "systemd-remount-fs.service", "systemd-modules-load.service", "systemd-udevd.service",
          "systemd-udev-trigger.service", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "dev-hugepages.mount",
          "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "modprobe@.service", "systemd-binfmt.service",
          "proc-sys-fs-binfmt_misc.automount", "systemd-ask-password-wall.path", "systemd-ask-password-console.path",
          "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-tmpfiles-clean.timer")  # fmt: skip
"""Units that a machine without devices and logins of its own does without."""

UNREACHED = ("/tmp", "/run", "/dev", "/proc", "/sys", "/var/lib/argosy-lab")
"""Places of the host that a machine has for itself: what it needs from there is bound in."""


class Layer:
    """Writes the machine's own layer before it is mounted: files, links and folders that cover the host's."""

    def __init__(self, upper: Path) -> None:
        self.upper = upper

    def hide(self, folders: Iterable[str]) -> None:
        for folder in folders:
            path = self._path(folder)
            path.mkdir(parents=True, exist_ok=True)
            os.setxattr(path, "trusted.overlay.opaque", b"y")

    def write(self, files: Mapping[str, str | bytes], mode: int = 0o644) -> None:
        for name, content in files.items():
            path = self._parent(name)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            path.chmod(mode)

    def link(self, links: Mapping[str, str]) -> None:
        for name, target in links.items():
            path = self._parent(name)
            path.unlink(missing_ok=True)
            path.symlink_to(target)

    def _parent(self, name: str) -> Path:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _path(self, name: str) -> Path:
        """In the layer; folders above it that are new to the layer get the host's modes, for the layer's count."""
        path = self.upper
        parts = name.strip("/").split("/")
        for depth, part in enumerate(parts[:-1]):
            path = path / part
            if not path.exists():
                path.mkdir()
                try:
                    seen = os.stat("/" + "/".join(parts[: depth + 1]))
                    path.chmod(stat.S_IMODE(seen.st_mode))
                    os.chown(path, seen.st_uid, seen.st_gid)
                except OSError:
                    pass
        return path / parts[-1]


def system_units(services: Mapping[str, str], enabled: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(files, links) of /etc/systemd/system: the services' own texts, what is enabled ({unit: the target that wants it}), the masks."""
    base = "etc/systemd/system"
    files = {f"{base}/{unit}": text for unit, text in services.items()}
    links = {f"{base}/{unit}": "/dev/null" for unit in MASKED}
    for unit, target in enabled.items():
        links[f"{base}/{target}.wants/{unit}"] = f"../{unit}" if unit in services else f"/lib/systemd/system/{unit}"
    links |= {f"{OWN_GENERATORS}/{name}": "/dev/null" for name in (*GENERATORS, *_foreign_generators())}
    return files, links


def needed_from_host() -> tuple[Path, ...]:
    """Folders that the agent's program consists of and that a machine would not see: on another file system than /, or in a place that it
    has for itself."""
    package = Path(argosy.__file__).resolve().parent
    wanted = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)} | {package.parent, package.parent.parent}
    device = os.stat("/").st_dev
    return tuple(
        path
        for path in sorted(wanted)
        if path != Path("/") and (os.stat(path).st_dev != device or any(path.is_relative_to(place) for place in UNREACHED))
    )


def _foreign_generators() -> tuple[str, ...]:
    """Unit generators of the host's packages (PostgreSQL has one): they would bring the host's services to life."""
    found = []
    for folder in ("/lib/systemd/system-generators", "/usr/local/lib/systemd/system-generators", "/etc/systemd/system-generators"):
        try:
            found += [name for name in os.listdir(folder) if not name.startswith("systemd-")]
        except OSError:
            continue
    return tuple(dict.fromkeys(found))
