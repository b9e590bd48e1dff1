"""What a Quadlet container takes of its machine."""

from __future__ import annotations

import pytest

from argosy.errors import InvalidUnit
from argosy.requirements import Port, Requirements
from argosy.unit.text import unit_text

MIB = 2**20


def asked(text: str, name: str = "web@7.service") -> Requirements:
    found = unit_text("[Container]\nImage=app\n" + text)
    refusal = found.refusal(name)
    if refusal is not None:
        raise refusal
    return found.requirements(name)


PORTS = [
    ("no port", "", ()),
    ("a port of the host", "PublishPort=8080:80", (Port(8080, 8080),)),
    ("another protocol", "PublishPort=53:53/udp", (Port(53, 53, "udp"),)),
    ("one address of the host", "PublishPort=127.0.0.1:8080:80", (Port(8080, 8080, address="127.0.0.1"),)),
    ("an IPv6 address", "PublishPort=[::1]:8080:80", (Port(8080, 8080, address="::1"),)),
    ("every address, by name", "PublishPort=0.0.0.0:80:80\nPublishPort=[::]:81:80", (Port(80, 80), Port(81, 81))),
    ("a range", "PublishPort=8000-8010:80-90", (Port(8000, 8010),)),
    ("the same port twice is one", "PublishPort=80:80\nPublishPort=80:80", (Port(80, 80),)),
    ("an empty line drops those before it", "PublishPort=80:80\nPublishPort=\nPublishPort=81:80", (Port(81, 81),)),
    ("a port that the engine chooses", "PublishPort=80", ()),
    ("an instance's own port", "PublishPort=808%i:80", (Port(8087, 8087),)),
    ("a variable is known on the machine only", "PublishPort=${PORT}:80", ()),
    ("a specifier of the machine as well", "PublishPort=%U:80", ()),
    ("no port has this number", "PublishPort=70000:80", ()),
]


@pytest.mark.parametrize(("sentence", "text", "ports"), PORTS)
def test_ports(sentence: str, text: str, ports: tuple[Port, ...]) -> None:
    assert asked(text).ports == ports, sentence


def test_a_value_that_is_no_port_is_refused() -> None:
    with pytest.raises(InvalidUnit, match="PublishPort="):
        asked("PublishPort=http:80")


MEMORY = [
    ("nothing said", "", 0),
    ("Memory=", "Memory=512m", 512 * MIB),
    ("bytes", "Memory=1000", 1000),
    ("a fraction", "Memory=1.5g", 1536 * MIB),
    ("Docker's longer suffixes", "Memory=1GiB", 1024 * MIB),
    ("Podman's arguments", "PodmanArgs=--memory=64m --cap-drop all", 64 * MIB),
    ("Podman's arguments, two words", "PodmanArgs=-m 64m", 64 * MIB),
    ("the service's limit, which holds the container under Podman", "[Service]\nMemoryMax=2G", 2048 * MIB),
    ("the least of all", "Memory=512m\n[Service]\nMemoryMax=256M", 256 * MIB),
    ("no limit", "Memory=0\n[Service]\nMemoryMax=infinity", 0),
    ("a part of the machine is known there only", "[Service]\nMemoryMax=50%", 0),
    ("what cannot be read", "Memory=much", 0),
    ("an instance's own", "Memory=%im", 7 * MIB),
]


@pytest.mark.parametrize(("sentence", "text", "memory"), MEMORY)
def test_memory(sentence: str, text: str, memory: int) -> None:
    assert asked(text).memory == memory, sentence


CPUS = [
    ("nothing said", "", 0.0),
    ("Podman's arguments", "PodmanArgs=--cpus=1.5", 1.5),
    ("Podman's arguments, two words", "PodmanArgs=--cpus 2", 2.0),
    ("the service's quota", "[Service]\nCPUQuota=150%", 1.5),
    ("the less of both", "PodmanArgs=--cpus=2\n[Service]\nCPUQuota=50%", 0.5),
    ("no quota", "[Service]\nCPUQuota=", 0.0),
    ("what cannot be read", "PodmanArgs=--cpus=all 'open", 0.0),
]


@pytest.mark.parametrize(("sentence", "text", "cpus"), CPUS)
def test_cpus(sentence: str, text: str, cpus: float) -> None:
    assert asked(text).cpus == cpus, sentence


def test_only_containers_reserve_anything() -> None:
    found = unit_text("[Service]\nExecStart=/bin/a\nMemoryMax=1G\nCPUQuota=50%\n[X-Fleet]\nGlobal=no\n")
    assert found.requirements("a.service") == Requirements()
    assert unit_text("[Volume]\nVolumeName=a\n").requirements("a-volume.service").memory == 0
