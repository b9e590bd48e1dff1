"""Containers on two full machines, each with systemd and a Docker Engine: Quadlet files as units of the cluster, and the keys door as
containers see it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from examples.operator_side import ARGOSY

from argosy.lab.lab import Lab
from tests.lab.conftest import need_containers, raised

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(240)]

PATIENCE = 60.0
PROGRAMS = "(*rootfs.PROGRAMS, 'curl')"
PACK = f"from pathlib import Path; from argosy.lab import rootfs; Path('/root/image.tar').write_bytes(rootfs.pack({PROGRAMS}))"
MACHINES = ("m1", "m2")

FILES = {
    "data.volume": "[Volume]\n",
    "web@.container": """[Unit]
Description=Instance %i

[Container]
Image=tiny
Pull=never
Exec=sh -c 'echo instance %i >/data/said; echo $$GREETING from %i; exec sleep 3600'
Environment=GREETING=hello
Volume=data.volume:/data
ReadOnly=yes
NoNewPrivileges=yes
DropCapability=all
PublishPort=18080:8080
Label=instance=%i
StopTimeout=1

[Service]
Restart=always
RestartSec=100ms

[X-Fleet]
Conflicts=web@*.service
""",
}


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    need_containers()
    for lab in raised("nspawn", 2):
        asyncio.run(asyncio.wait_for(furnish(lab), 120))
        yield lab


async def furnish(lab: Lab) -> None:
    """An image of this host's own programs on every machine."""
    for machine in MACHINES:
        await until_said(lab, machine, "overlay2", "docker", "info", "--format", "{{.Driver}}")
        assert await said(lab, machine, sys.executable, "-c", PACK) == (0, "")
        await until_said(lab, machine, "sha256:", "docker", "import", "/root/image.tar", "tiny")


async def said(lab: Lab, machine: str, *argv: str) -> tuple[int, str]:
    found = await lab.exec(machine, argv)
    return found.code, found.stdout + found.stderr


async def until(lab: Lab, machine: str, holds: Callable[[str], bool], *argv: str) -> str:
    """What the command says once it is as wanted."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while not holds((last := await said(lab, machine, *argv))[1]):
        assert asyncio.get_running_loop().time() < end, f"{argv} says {last}"
        await asyncio.sleep(0.2)
    return last[1]


async def until_said(lab: Lab, machine: str, words: str, *argv: str) -> str:
    return await until(lab, machine, lambda text: words in text, *argv)


async def tell(lab: Lab, folder: Path, *words: str) -> str:
    """A command line of an operator, in the folder of the files."""
    socket = (await lab.record()).socket("m1")
    process = await asyncio.create_subprocess_exec(
        ARGOSY,
        *words,
        cwd=folder,
        env={**os.environ, "FLEETCTL_ENDPOINT": f"unix://{socket}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, f"{' '.join(words)}: {output.decode()}"
    return output.decode()


async def containers(lab: Lab) -> dict[str, str]:
    """{machine: names of the containers that run there}"""
    return {machine: (await said(lab, machine, "docker", "ps", "--format", "{{.Names}}"))[1].strip() for machine in MACHINES}


async def test_a_container_reaches_the_keys_of_its_machine_and_another_machine_does_not(pair: Lab) -> None:
    record = await pair.record()
    address = record.machine("m1").address
    for door in (address, "172.17.0.1"):
        asking = ("docker", "run", "--rm", "tiny", "curl", "-sS", "-m", "3", f"http://{door}:4001/version")
        await until_said(pair, "m1", "etcdserver", *asking)
    code, words = await said(pair, "m2", "curl", "-sS", "-m", "3", f"http://{address}:4001/version")
    assert code == 7, words  # curl: nobody listens


WRITER = """[Container]
Image=tiny
Pull=never
Exec=sh -c 'curl -sS -m 5 -X PUT -d value=%n http://172.17.0.1:4001/v2/keys/from/%p; exec sleep 3600'
StopTimeout=1

[X-Fleet]
MachineID={machine}
"""


async def test_containers_write_keys_if_their_file_asks_for_it(pair: Lab, tmp_path: Path) -> None:
    """The real engine, both ways to start a container; root in a container is nobody to the machine."""
    machine = (await pair.record()).machine("m1").id
    (tmp_path / "reads.container").write_text(WRITER.format(machine=machine))
    (tmp_path / "writes.container").write_text(WRITER.format(machine=machine) + "\n[X-Argosy]\nKeys=write\n")
    asking = ("curl", "-sS", "-m", "5", "-X", "PUT", "-d", "value=1", "http://172.17.0.1:4001/v2/keys/from/run")
    assert '"errorCode":110' in (await said(pair, "m1", "docker", "run", "--rm", "tiny", *asking))[1]
    assert '"action":"set"' in (await said(pair, "m1", "docker", "run", "--rm", "--label", "argosy.keys=write", "tiny", *asking))[1]
    await tell(pair, tmp_path, "start", "reads.container", "writes.container")
    listing = ("curl", "-sS", "-m", "5", "http://127.0.0.1:4001/v2/keys/from")
    await until_said(pair, "m1", "may not do that here", "docker", "logs", "systemd-reads")
    found = await until_said(pair, "m1", "/from/writes", *listing)
    assert "/from/reads" not in found
    await tell(pair, tmp_path, "destroy", "reads.container", "writes.container")


async def test_instances_of_a_quadlet_file_live_on_machines_of_their_own_come_back_when_killed_and_leave_their_data(
    pair: Lab, tmp_path: Path
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    await tell(pair, tmp_path, "start", "web@1.container", "web@2.container")
    listed = await tell(pair, tmp_path, "list-units", "--no-legend", "--fields=unit,active,sub")
    assert [line.split() for line in listed.splitlines() if line.startswith("web@")] == [
        ["web@1.service", "active", "running"],
        ["web@2.service", "active", "running"],
    ]
    found = await containers(pair)
    assert sorted(found.values()) == ["systemd-web_1", "systemd-web_2"]

    machine, other = ("m1", "m2") if found["m1"] == "systemd-web_1" else ("m2", "m1")
    told = json.loads((await said(pair, machine, "docker", "inspect", "systemd-web_1"))[1])[0]
    assert told["Config"]["Labels"]["instance"] == "1"
    assert (told["HostConfig"]["ReadonlyRootfs"], told["HostConfig"]["CapDrop"]) == (True, ["ALL"])
    assert told["HostConfig"]["PortBindings"] == {"8080/tcp": [{"HostIp": "", "HostPort": "18080"}]}
    assert "hello from 1" in await tell(pair, tmp_path, "journal", "web@1.service")

    assert (await said(pair, machine, "docker", "kill", "systemd-web_1"))[0] == 0
    again = await until(
        pair,
        machine,
        lambda text: len(text.strip()) == 64 and text.strip() != told["Id"],
        *("docker", "ps", "--no-trunc", "--quiet", "--filter", "name=systemd-web_1"),
    )
    assert again.strip() != told["Id"]

    await tell(pair, tmp_path, "stop", "web@1.service")
    assert (await containers(pair))[machine] == ""
    assert (await containers(pair))[other] == "systemd-web_2"
    kept = await said(pair, machine, "docker", "run", "--rm", "-v", "systemd-data:/data", "tiny", "cat", "/data/said")
    assert kept == (0, "instance 1\n")
    await tell(pair, tmp_path, "destroy", "web@1.service", "web@2.service", "data-volume.service")
    await until(pair, other, lambda text: text.strip() == "", "docker", "ps", "--all", "--quiet")
