"""What stands in a full machine's /etc when it boots for the first time: who it is, its services, the agent's installation."""

from __future__ import annotations

from pathlib import Path

from argosy import install
from argosy.config import (
    ApiSection,
    Config,
    KeysSection,
    MachineSection,
    RouterSection,
    RuntimeSection,
    StoreSection,
    TlsSection,
    changed,
)
from argosy.lab import disk, members, network
from argosy.lab.state import LabRecord, MachineRecord
from argosy.lab.trust import pems

WRITABLE_CGROUPS = """\
[Unit]
Description=Let Docker use the control groups (version 1) of this lab machine
DefaultDependencies=no
Before=docker.service containerd.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for c in /sys/fs/cgroup /sys/fs/cgroup/*/; do mount -o remount,rw,bind $c 2>/dev/null; done; :'
"""

SYSCTL = "net.ipv4.tcp_retries2 = 3\n"
"""A connection to a machine that has lost its power is given up after six seconds instead of a quarter of an hour, as docs/install.md
advises: a router then asks another instance."""

JOURNAL = "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nRuntimeMaxUse=16M\n"


def machine_files(lab: LabRecord, name: str) -> tuple[dict[str, str | bytes], dict[str, bytes], dict[str, str]]:
    """(files, secret files, links), by path below /."""
    machine = lab.machine(name)
    ca, cert, key = pems(lab, name)
    services = {"argosy-lab-cgroups.service": WRITABLE_CGROUPS, install.SERVICE: install.agent_service()}
    enabled = {"argosy-lab-cgroups.service": "sysinit.target", install.SERVICE: "multi-user.target"}
    if name in lab.members:
        services["etcd.service"] = members.service_file(lab, machine)
        enabled["etcd.service"] = "multi-user.target"
    if has_docker():
        enabled |= {"docker.service": "multi-user.target", "containerd.service": "multi-user.target", "docker.socket": "sockets.target"}
    units, links = disk.system_units(services, enabled)
    links["usr/local/bin/argosy"] = install.program()
    files: dict[str, str | bytes] = {
        **units,
        "etc/hostname": f"{name}\n",
        "etc/machine-id": f"{machine.id}\n",
        "etc/environment": f"COREOS_PRIVATE_IPV4={machine.address}\nCOREOS_PUBLIC_IPV4={machine.address}\nETCDCTL_API=2\n",
        "etc/fstab": "",
        "etc/crypttab": "",
        "etc/systemd/journald.conf.d/argosy-lab.conf": JOURNAL,
        "etc/sysctl.d/60-argosy.conf": SYSCTL,
        "etc/argosy/tls/ca.pem": ca,
        "etc/argosy/tls/machine.pem": cert,
        install.CONFIG.lstrip("/"): install.config_file(config(lab, machine)),
    }
    return files, {"etc/argosy/tls/machine.key": key}, links


def config(lab: LabRecord, machine: MachineRecord) -> Config:
    """What the operator of such a machine would have written."""
    usual = Config(
        machine=MachineSection(id=machine.id, name=machine.name, address=machine.address, metadata=machine.metadata, ttl=lab.ttl),
        store=StoreSection(url=members.store_url(lab)),
        tls=TlsSection(ca=f"{members.TLS}/ca.pem", cert=f"{members.TLS}/machine.pem", key=f"{members.TLS}/machine.key"),
        runtime=RuntimeSection(kind="systemd"),
        api=ApiSection(fleet_socket="/var/run/fleet.sock", exec=True),
        router=RouterSection(trusted=(network.address(lab.number, network.HOST),)),
        keys=KeysSection(bridges=("docker0",) if has_docker() else ()),
    )
    return changed(usual, lab.settings)


def has_docker() -> bool:
    return Path("/lib/systemd/system/docker.service").exists()
