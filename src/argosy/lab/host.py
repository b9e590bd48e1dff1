"""What this host can be to a lab: each condition of full machines is tried, and told in a sentence when it fails."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from argosy.errors import ArgosyError
from argosy.lab import cgroups
from argosy.lab.base import host

PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "etcd": "etcd-server",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setsid": "util-linux",
    "mount": "mount",
}
"""What full machines need on the host, and the Debian package that brings it."""

OVERLAY = """
set -e
mount -t tmpfs argosy-lab /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work argosy-lab /mnt/root
"""

CABLES = "ip link add argosy-a type veth peer name argosy-b && ip link add argosy-c type bridge && ip link set argosy-a master argosy-c"


async def obstacles() -> tuple[str, ...]:
    """Why this host cannot boot full machines, a sentence each; () if it can."""
    if os.getuid() != 0:
        return ("not root",)
    missing = [
        f"{program} (Debian: {package})" for program, package in PROGRAMS.items() if await asyncio.to_thread(shutil.which, program) is None
    ]
    found = [f"missing programs: {', '.join(missing)}"] if missing else []
    if not await asyncio.to_thread(Path("/lib/systemd/systemd").exists):
        found.append("systemd is not installed (Debian: systemd)")
    if not await asyncio.to_thread(cgroups.fit_for_systemd):
        found.append("no control groups that systemd could use are mounted below /sys/fs/cgroup")
    elif not await asyncio.to_thread(_groups_can_be_made):
        found.append("no control group can be made")
    if missing:
        return tuple(found)
    for what, argv in (
        ("no overlay of the root file system can be mounted", ("unshare", "--mount", "--propagation=private", "sh", "-c", OVERLAY)),
        ("no network namespace with virtual cables can be made", ("unshare", "--net", "sh", "-c", CABLES)),
        ("no PID namespace can be made", ("unshare", "--pid", "--fork", "--mount-proc", "true")),
    ):
        try:
            await host(*argv)
        except ArgosyError as error:
            found.append(f"{what} ({str(error).rpartition('failed: ')[2].splitlines()[-1]})")
    return tuple(found)


def _groups_can_be_made() -> bool:
    group = f"probe-{os.getpid()}"
    try:
        cgroups.create(group)
        cgroups.remove(group)
    except (ArgosyError, OSError):
        return False
    return True
