"""The [Volume] and [Network] sections as arguments for `volume create` and `network create`."""

from __future__ import annotations

from argosy.errors import InvalidUnit
from argosy.unit.names import shown
from argosy.unit.parse import UnitFile
from argosy.unit.quadlet.container import Finding
from argosy.unit.quadlet.engine import Engine, check_flag
from argosy.unit.quadlet.keys import KEYS, Ignored, Key, Read, Refused
from argosy.unit.quadlet.reading import arguments, each, last, pairs, switch

_DOCKER_OPTIONS = {"mtu": "com.docker.network.driver.mtu"}


def volume_options(file: UnitFile, engine: Engine) -> tuple[list[str], list[Finding]]:
    """Arguments before the name. Raises InvalidUnit for what no engine can do."""
    maker = _Maker("Volume", file, engine, engine.volume_flags)
    driver = maker.last("Driver")
    if driver == "image" and maker.docker:
        maker.findings.append(Finding("Driver", "Docker has no volumes of images", fatal=True))
    maker.simple("UID", "GID", "Driver")
    if driver == "image":
        if not maker.last("Image"):
            raise InvalidUnit("Driver=image needs Image=")
        if maker.last("Image").endswith((".image", ".build")):
            raise InvalidUnit(f"Image={shown(maker.last('Image'))}: .image and .build files are not known here")
        maker.add("Image", "--opt", f"image={maker.last('Image')}")
    else:
        _mount_options(maker)
    maker.simple("Label", "GlobalArgs", "PodmanArgs", "ContainersConfModule", "ServiceName")
    return maker.finished(), maker.findings


def _mount_options(maker: _Maker) -> None:
    device, kind = maker.last("Device"), maker.last("Type")
    owner = [f"{short}={maker.number(name)}" for name, short in (("User", "uid"), ("Group", "gid")) if maker.last(name)]
    copy = switch(maker.file, "Volume", "Copy")
    if copy is not None and maker.docker:
        maker.unfit("Copy")
    elif copy is not None:
        maker.add("Copy", "--opt", "copy" if copy else "nocopy")
    if kind and not device:
        raise InvalidUnit("Type= needs Device=")
    if owner and not device and maker.docker:
        maker.findings.append(
            Finding("User" if maker.last("User") else "Group", "Docker's volumes take an owner only with Device=", fatal=True)
        )
        owner = []
    if device:
        maker.add("Device", "--opt", f"device={device}")
    if kind:
        maker.add("Type", "--opt", f"type={kind}")
    options = ",".join([*owner, *filter(None, [maker.last("Options")])])
    if options:
        maker.add("Options", "--opt", f"o={options}")


def network_options(file: UnitFile, engine: Engine) -> tuple[list[str], list[Finding]]:
    """Arguments before the name. Raises InvalidUnit for what no engine can do."""
    maker = _Maker("Network", file, engine, engine.network_flags)
    maker.simple("DisableDNS", "Internal", "IPv6", "Driver", "IPAMDriver", "DNS")
    name = maker.last("InterfaceName")
    if name and maker.docker:
        maker.add("InterfaceName", "--opt", f"com.docker.network.bridge.name={name}")
    elif name:
        maker.simple("InterfaceName")
    subnets, gateways, ranges = (each(file, "Network", key) for key in ("Subnet", "Gateway", "IPRange"))
    if len(gateways) > len(subnets) or len(ranges) > len(subnets):
        raise InvalidUnit("each Gateway= and each IPRange= needs a Subnet= of its own")
    for index, subnet in enumerate(subnets):
        maker.add("Subnet", "--subnet", subnet)
        for key, flag, values in (("Gateway", "--gateway", gateways), ("IPRange", "--ip-range", ranges)):
            if index < len(values):
                maker.add(key, flag, values[index])
    for pair in pairs(file, "Network", "Options"):
        key, equals, value = pair.partition("=")
        maker.add("Options", "--opt", f"{_DOCKER_OPTIONS.get(key, key) if maker.docker else key}{equals}{value}")
    maker.simple("Label", "GlobalArgs", "PodmanArgs", "ContainersConfModule", "ServiceName")
    return maker.finished(), maker.findings


class _Maker:
    def __init__(self, section: str, file: UnitFile, engine: Engine, flags: frozenset[str]) -> None:
        self.section = section
        self.file = file
        self.engine = engine
        self.flags = flags
        self.words: list[str] = []
        self.findings: list[Finding] = []
        self.docker = engine.kind == "docker"

    def last(self, name: str) -> str:
        return last(self.file, self.section, name) or ""

    def number(self, name: str) -> int:
        value = self.last(name)
        if (not (value.isascii() and value.isdecimal()) or len(value) > 10) and value != "root":
            raise InvalidUnit(f"{name}={shown(value)} of a volume is no number, and names are known to each machine differently")
        return 0 if value == "root" else int(value)

    def add(self, name: str, flag: str, *value: str) -> None:
        check_flag(flag, self.flags, self.engine, name)
        self.words += [flag, *value]

    def unfit(self, name: str) -> None:
        way = KEYS[self.section][name].way(self.engine.kind)
        if isinstance(way, Ignored | Refused):
            self.findings.append(Finding(name, way.why, isinstance(way, Refused)))

    def simple(self, *names: str) -> None:
        """Keys that the table tells all about."""
        for name in names:
            key = KEYS[self.section][name]
            way = key.way(self.engine.kind)
            values = self._values(key)
            if values and isinstance(way, Ignored | Refused):
                self.unfit(name)
            elif isinstance(way, str) and way.startswith("-") and not way.endswith("="):
                for value in values:
                    self._add(key, way, value)

    def _add(self, key: Key, way: str, value: str) -> None:
        if key.read is Read.SWITCH:
            self.add(key.name, way if value == "yes" else f"{way}=false")
        else:
            self.add(key.name, way, value)

    def _values(self, key: Key) -> list[str]:
        match key.read:
            case Read.PAIRS:
                return pairs(self.file, self.section, key.name)
            case Read.EACH:
                return each(self.file, self.section, key.name)
            case Read.ARGUMENTS:
                return arguments(self.file, self.section, key.name)
            case Read.SWITCH:
                value = switch(self.file, self.section, key.name)
                return [] if value is None else ["yes" if value else "no"]
        return [self.last(key.name)] if self.last(key.name) else []

    def finished(self) -> list[str]:
        return self.words if self.docker else [*self.words, *arguments(self.file, self.section, "PodmanArgs")]
