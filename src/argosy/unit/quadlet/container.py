"""The [Container] section as arguments for `run` (Podman) or `create` (Docker), and the networks to connect to after that."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from argosy.errors import InvalidUnit
from argosy.unit.names import shown
from argosy.unit.parse import UnitFile
from argosy.unit.quadlet.engine import NAMES, Engine, check_flag
from argosy.unit.quadlet.keys import CONTAINER, Ignored, Key, Read, Refused, Way
from argosy.unit.quadlet.names import KEYS_LABEL
from argosy.unit.quadlet.reading import arguments, each, last, pairs, raw, split, switch, words

SECTION = "Container"
_PORT = re.compile(r"\d+(-\d+)?(/udp|/tcp|/sctp)?")
_ZONE = re.compile(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*")
_RESOURCE = re.compile(r"[A-Za-z0-9%$][A-Za-z0-9_.%{}$-]*")
_DOCKER_VOLUME = frozenset(
    ("ro", "rw", "z", "Z", "shared", "slave", "private", "rshared", "rslave", "rprivate", "nocopy", "consistent", "cached", "delegated")
)
_DOCKER_MOUNT = frozenset(
    (
        *("type", "source", "src", "destination", "dst", "target", "readonly", "ro", "consistency"),
        *("bind-propagation", "bind-nonrecursive", "bind-recursive", "tmpfs-size", "tmpfs-mode"),
        *("volume-label", "volume-driver", "volume-opt", "volume-nocopy", "volume-subpath"),
    )
)
_MOUNT_TYPES = {
    "docker": ("bind", "volume", "tmpfs"),
    "podman": ("bind", "volume", "tmpfs", "glob", "image", "artifact", "ramfs", "devpts"),
}
_DOCKER_ENDPOINT = {"ip": "ip", "ip6": "ip6", "alias": "alias", "mac": "mac-address"}
_TARGETS = ("target", "dst", "destination")
_WRITABLE = ("/run", "/tmp", "/var/tmp")
WRITABLE_OPTIONS = "rw,nosuid,nodev,exec,mode=1777"
VOLATILE = "/tmp:rw,size=512M,mode=1777"

Resolve = Callable[[str], str]
"""The name that a reference such as `data.volume` has on the engine. Raises InvalidUnit if it cannot be known."""


class Run(msgspec.Struct, frozen=True):
    """`options` stand before the image, `image` and `command` after them. `connect` are further networks, for engines that take one at a
    time: (network, options of `network connect`)."""

    options: list[str]
    image: list[str]
    command: list[str]
    connect: list[tuple[str, list[str]]]


class Finding(msgspec.Struct, frozen=True):
    """A key that an engine does not honour as it stands; `fatal`: it does not run the container at all."""

    key: str
    why: str
    fatal: bool = False


def container_options(file: UnitFile, engine: Engine, resolve: Resolve, exists: Callable[[str], bool]) -> tuple[Run, list[Finding]]:
    """All that the section says, for this engine. `exists`: whether a device is there. Raises InvalidUnit for what no engine can run."""
    maker = _Maker(file, engine, resolve, exists)
    maker.options()
    image, command = maker.image()
    return Run(maker.words, image, command, maker.connect), maker.findings


class _Maker:
    def __init__(self, file: UnitFile, engine: Engine, resolve: Resolve, exists: Callable[[str], bool]) -> None:
        self.file = file
        self.engine = engine
        self.resolve = resolve
        self.exists = exists
        self.words: list[str] = []
        self.connect: list[tuple[str, list[str]]] = []
        self.findings: list[Finding] = []
        self.docker = engine.kind == "docker"
        self.command_prefix: list[str] = []
        self.present = {option.name for option in file.options if option.section == SECTION}

    # ---------------------------------------------------------------- values

    def last(self, name: str) -> str:
        return last(self.file, SECTION, name) or ""

    def switch(self, name: str) -> bool | None:
        return switch(self.file, SECTION, name)

    def values(self, key: Key) -> list[str]:
        match key.read:
            case Read.LAST:
                value = self.last(key.name)
                return [value] if value else []
            case Read.EACH:
                return each(self.file, SECTION, key.name)
            case Read.WORDS:
                return words(self.file, SECTION, key.name)
            case Read.ARGUMENTS:
                return arguments(self.file, SECTION, key.name)
            case Read.PAIRS:
                return pairs(self.file, SECTION, key.name)
        return []

    # ---------------------------------------------------------------- words

    def options(self) -> None:
        for key in CONTAINER:
            if key.name not in self.present or key.name in ("ContainerName", "GlobalArgs", "ContainersConfModule", "PodmanArgs"):
                if key.name in self.present and isinstance(key.way(self.engine.kind), Ignored) and self.values(key):
                    self.unfit(key.name, key.way(self.engine.kind))
                continue
            self.key(key)
        if last(self.file, "X-Argosy", "Keys") == "write":
            self.flag("Keys", "--label", KEYS_LABEL)
        if not self.docker:
            self.words += arguments(self.file, SECTION, "PodmanArgs")

    def key(self, key: Key) -> None:
        way = key.way(self.engine.kind)
        if isinstance(way, Ignored | Refused):
            if key.read is Read.OWN or (key.read is Read.SWITCH and self.switch(key.name)) or self.values(key):
                self.unfit(key.name, way)
            return
        own = _OWN.get(key.name)
        if own is not None:
            own(self, way)
        elif key.read is Read.SWITCH:
            wanted = self.switch(key.name)
            if wanted is not None:
                self.flag(key.name, way if wanted else f"{way}=false")
        else:
            for value in self.values(key):
                fitting = self.checked(key.name, value)
                if fitting:
                    self.add(key.name, way, fitting)

    def add(self, name: str, way: str, value: str) -> None:
        flag, blank, text = way.partition(" ")
        if blank:
            self.flag(name, flag, text + value)
        elif way.endswith("="):
            self.flag(name, way + value)
        else:
            self.flag(name, way, value)

    def flag(self, name: str, *found: str) -> None:
        check_flag(found[0], self.engine.flags, self.engine, name)
        self.words += found

    def unfit(self, name: str, how: Way) -> None:
        assert not isinstance(how, str)
        self.findings.append(Finding(name, how.why, isinstance(how, Refused)))

    def checked(self, name: str, value: str) -> str:
        """The value as this engine takes it; "" if it is left out."""
        if name in ("AddCapability", "DropCapability"):
            return value.lower()
        if name == "AddDevice" and value.startswith("-"):
            value = value[1:]
            return value if self.exists(value.partition(":")[0]) else ""
        if name == "ExposeHostPort" and not _PORT.fullmatch(value):
            raise InvalidUnit(f"ExposeHostPort={shown(value)} is no port: write 80, 8000-8010 or 53/udp")
        if name == "EnvironmentFile" and not value.startswith(("/", "%", "$")):
            raise InvalidUnit(f"EnvironmentFile={shown(value)} must be absolute: a path beside the unit file is on no machine")
        if name == "PublishPort":
            published(value)
        how = _docker_value(name, value) if self.docker else None
        if how is not None:
            self.unfit(name, how)
            return ""
        return value

    def image(self) -> tuple[list[str], list[str]]:
        image, rootfs = self.last("Image"), self.last("Rootfs")
        if bool(image) == bool(rootfs):
            raise InvalidUnit("Image= and Rootfs= exclude each other" if image else "a container needs Image=")
        if image.startswith("-") or any(character.isspace() for character in image):
            raise InvalidUnit(f"Image={shown(image)} is no name of an image")
        if image.endswith((".image", ".build")):
            raise InvalidUnit(f"Image={shown(image)}: .image and .build files are not known here", remedy="push the image to a registry")
        command = [*self.command_prefix, *split("Exec", raw(self.file, SECTION, "Exec"))]
        return ([image] if image else ["--rootfs", rootfs]), command

    # ---------------------------------------------------------------- keys with rules of their own

    def entrypoint(self, way: str) -> None:
        value = self.last("Entrypoint")
        listed = _json_list(value)
        if self.docker and listed:
            value, self.command_prefix = listed[0], listed[1:]
        self.flag("Entrypoint", f"--entrypoint={value}")

    def user(self, way: str) -> None:
        user, group = self.last("User"), self.last("Group")
        if group and not user:
            raise InvalidUnit("Group= needs User=")
        if user:
            self.flag("User", "--user", f"{user}:{group}" if group else user)

    def if_true(self, name: str, flag: str) -> None:
        if self.switch(name):
            self.flag(name, *flag.split(" "))

    def health_command(self, way: str) -> None:
        value = self.last("HealthCmd")
        if not value:
            return
        check = _docker_check(value) if self.docker else value
        if check:
            self.flag("HealthCmd", "--health-cmd", check)
        else:
            self.flag("HealthCmd", "--no-healthcheck")

    def notify(self, way: str) -> None:
        value = self.last("Notify")
        if value.lower() != "healthy" and self.switch("Notify") and not self.engine.notifies:
            self.unfit("Notify", Ignored("the container cannot reach the notify socket, so it counts as started when it runs"))
        if value.lower() == "healthy" and not self.last("HealthCmd"):
            self.findings.append(Finding("Notify", "healthy needs a health check: HealthCmd= here, or one in the image"))

    def writable(self, way: str) -> None:
        if self.docker:
            return  # see read_only
        value = self.switch("ReadOnlyTmpfs")
        if value is not None:
            self.flag("ReadOnlyTmpfs", way if value else f"{way}=false")

    def read_only(self, way: str) -> None:
        value = self.switch("ReadOnly")
        if value is None:
            return
        self.flag("ReadOnly", way if value else f"{way}=false")
        if value and self.docker and self.switch("ReadOnlyTmpfs") is not False:
            taken = {text.partition(":")[0] for text in each(self.file, SECTION, "Tmpfs")}
            taken |= {_target(text) for text in each(self.file, SECTION, "Volume")}
            for mount in arguments(self.file, SECTION, "Mount"):
                named = (field.partition("=") for field in _mount_fields(mount))
                taken |= {text for name, _, text in named if name in _TARGETS}
            places = {posixpath.normpath(path) for path in taken}
            for path in _WRITABLE:
                if path not in places:
                    self.flag("ReadOnlyTmpfs", "--tmpfs", f"{path}:{WRITABLE_OPTIONS}")

    def timezone(self, way: str) -> None:
        zone = self.last("Timezone")
        if not zone:
            return
        if not self.docker:
            self.flag("Timezone", way, zone)
            return
        if not _ZONE.fullmatch(zone):
            raise InvalidUnit(f"Timezone={shown(zone)} is no time zone: write local or a name such as Europe/Berlin")
        source = "/etc/localtime" if zone == "local" else f"/usr/share/zoneinfo/{zone}"
        self.flag("Timezone", "--mount", f"type=bind,source={source},target=/etc/localtime,readonly")

    def unmask(self, way: str) -> None:
        for value in arguments(self.file, SECTION, "Unmask"):
            if not self.docker:
                self.add("Unmask", way, value)
            elif value.upper() == "ALL":
                self.flag("Unmask", *way.split(" "))
            else:
                self.unfit("Unmask", Refused("Docker can unmask everything (ALL) or nothing"))

    def volatile(self, way: str) -> None:
        if self.switch("VolatileTmp") and not self.switch("ReadOnly"):
            self.flag("VolatileTmp", "--tmpfs", VOLATILE)

    def volumes(self, way: str) -> None:
        for value in each(self.file, SECTION, "Volume"):
            source, colon, rest = value.partition(":")
            if not colon:
                self.flag("Volume", "-v", value)
                continue
            target, mark, options = rest.partition(":")
            if mark and self.docker:
                left_out = [option for option in options.split(",") if option not in _DOCKER_VOLUME]
                if left_out:
                    self.unfit("Volume", Ignored(f"Docker does not know the option {', '.join(map(shown, left_out))}"))
                options = ",".join(option for option in options.split(",") if option in _DOCKER_VOLUME)
            source = self.source("Volume", source) if source else source
            words_ = [source, target, options] if options else [source, target]
            self.flag("Volume", "-v", ":".join(words_) if source else target)

    def source(self, name: str, source: str) -> str:
        if source.startswith("."):
            raise InvalidUnit(f"{name}={shown(source)}: a path beside the unit file is on no machine; write an absolute one")
        if source.startswith("/"):
            return source
        if source.endswith(".volume"):
            return self.resolve(source)
        if source.endswith((".image", ".artifact", ".build")):
            raise InvalidUnit(f"{name}={shown(source)}: such files are not known here")
        return source

    def mounts(self, way: str) -> None:
        for value in arguments(self.file, SECTION, "Mount"):
            fields = _mount_fields(value)
            options = dict(field.partition("=")[::2] for field in fields)
            kind = options.get("type", "volume")
            if kind not in _MOUNT_TYPES["podman"]:
                raise InvalidUnit(f"Mount={shown(value)}: the types are {', '.join(_MOUNT_TYPES['podman'])}")
            if kind not in _MOUNT_TYPES[self.engine.kind]:
                self.unfit("Mount", Refused(f"Docker has no mounts of type {kind}"))
                continue
            strange = [name for name in options if name not in _DOCKER_MOUNT] if self.docker else []
            if strange:
                self.unfit("Mount", Refused(f"Docker's mounts have no option {', '.join(map(shown, strange))}"))
                continue
            self.flag("Mount", "--mount", _csv(self.mount_fields(kind, fields, value)))

    def mount_fields(self, kind: str, fields: list[str], value: str) -> list[str]:
        """Quadlet's order: the type first, the source resolved."""
        if kind not in ("volume", "bind", "glob", "image", "artifact"):
            return fields
        found, sourced = [f"type={kind}"], kind == "volume"
        for field in fields:
            name, _, text = field.partition("=")
            if name in ("source", "src"):
                if not text:
                    raise InvalidUnit(f"Mount={shown(value)} has an empty source")
                sourced = True
                field = f"source={self.source('Mount', text)}"
            if name != "type":
                found.append(field)
        if not sourced:
            raise InvalidUnit(f"Mount={shown(value)} needs source=")
        return found

    def networks(self, way: str) -> None:
        wanted = each(self.file, SECTION, "Network")
        aliases = each(self.file, SECTION, "NetworkAlias")
        for index, value in enumerate(wanted):
            name, colon, options = value.partition(":")
            if name.endswith(".container") and colon:
                raise InvalidUnit(f"Network={shown(value)}: the network of another container takes no options")
            if name.endswith((".network", ".container")):
                resolved = self.resolve(name)
                name = f"container:{resolved}" if name.endswith(".container") else resolved
                value = f"{name}:{options}" if colon else name
            if not self.docker:
                self.flag("Network", "--network", value)
                continue
            self.docker_network(index, name, value, options, aliases)

    def docker_network(self, index: int, name: str, value: str, options: str, aliases: list[str]) -> None:
        if name in ("slirp4netns", "pasta", "ns", "private") or name.startswith("ns:"):
            self.unfit("Network", Refused(f"Docker has no network mode {shown(name)}"))
            return
        if value.startswith("container:") or not options:
            endpoint = []
        else:
            endpoint = [field.partition("=") for field in options.split(",") if field]
            strange = [field[0] for field in endpoint if field[0] not in _DOCKER_ENDPOINT]
            if strange:
                self.unfit("Network", Refused(f"Docker's networks have no option {', '.join(map(shown, strange))}"))
                return
        if index == 0:
            fields = [f"{_DOCKER_ENDPOINT[key]}={text}" for key, _, text in endpoint]
            self.flag("Network", "--network", _csv([f"name={name}", *fields]) if fields else value)
            return
        if any(key == "mac" for key, _, _ in endpoint):
            self.unfit("Network", Refused("Docker takes mac= for the first network only"))
            return
        more = [word for key, _, text in endpoint for word in (f"--{_DOCKER_ENDPOINT[key]}", text)]
        self.connect.append((name, [*more, *(word for alias in aliases for word in ("--alias", alias))]))


_OWN: Mapping[str, Callable[[_Maker, str], None]] = {
    "Entrypoint": _Maker.entrypoint,
    "User": _Maker.user,
    "Group": lambda maker, way: None if maker.last("User") else maker.user(way),
    "NoNewPrivileges": lambda maker, way: maker.if_true("NoNewPrivileges", way),
    "SecurityLabelDisable": lambda maker, way: maker.if_true("SecurityLabelDisable", way),
    "SecurityLabelNested": lambda maker, way: maker.if_true("SecurityLabelNested", way),
    "HealthCmd": _Maker.health_command,
    "Notify": _Maker.notify,
    "ReadOnly": _Maker.read_only,
    "ReadOnlyTmpfs": _Maker.writable,
    "Timezone": _Maker.timezone,
    "Unmask": _Maker.unmask,
    "VolatileTmp": _Maker.volatile,
    "Volume": _Maker.volumes,
    "Mount": _Maker.mounts,
    "Network": _Maker.networks,
    **dict.fromkeys(("Exec", "Image", "Rootfs", "ReloadCmd", "ReloadSignal"), lambda maker, way: None),
}
"""Keys whose reading is their own; those with nothing to add here are read by `image` and by `service`."""


def _docker_value(name: str, value: str) -> Ignored | Refused | None:
    """What Docker makes of single values that Podman knows."""
    match name, value.lower():
        case "Pull", "newer":
            return Ignored("Docker has no pull policy newer; missing is used")
        case "LogDriver", ("k8s-file" | "passthrough" | "passthrough-tty"):
            return Ignored(f"Docker has no log driver {value}; the unit's log has the output")
        case "HealthInterval", "disable":
            return Ignored("Docker's health checks have an interval")
        case "GroupAdd", "keep-groups":
            return Refused("Docker has no keep-groups")
        case "Ulimit", "host":
            return Ignored("Docker has no Ulimit=host; its daemon's limits apply")
        case "UserNS", other if other != "host":
            return _USER_NAMESPACES
    return None


_USER_NAMESPACES = Refused("Docker maps users for the whole daemon (userns-remap), not for a container; only host is known")


def published(value: str) -> tuple[str, str, str]:
    """(address, ports of the host, protocol) of a PublishPort=; the address is "" for all, the ports "" if the engine chooses. Raises
    InvalidUnit. Values with variables or specifiers say nothing."""
    if "$" in value or "%" in value:
        return ("", "", "tcp")
    ports, _, protocol = value.rpartition("/") if "/" in value else (value, "", "tcp")
    address, rest = "", ports
    if ports.startswith("["):
        address, _, rest = ports[1:].partition("]")
        rest = rest.removeprefix(":")
        parts = rest.split(":")
    else:
        parts = rest.split(":")
        if len(parts) == 3:
            address, *parts = parts
    spans = [part for part in parts if part]
    if (
        not spans
        or len(parts) > 2
        or protocol not in ("tcp", "udp", "sctp")
        or not all(re.fullmatch(r"\d+(-\d+)?", span) for span in spans)
    ):
        raise InvalidUnit(f"PublishPort={shown(value)} is no port: write [ADDRESS:][HOST:]CONTAINER[/udp]")
    host = parts[0] if len(parts) == 2 else ""
    return (address, host, protocol)


def container_name(name: str) -> str:
    """Raises InvalidUnit for what no engine takes for a name, or would take for an option."""
    if not _RESOURCE.fullmatch(name):
        raise InvalidUnit(f"{shown(name)} is no name of a container, volume or network: letters, digits, _ . -")
    return name


def base_command(file: UnitFile, section: str, engine: Engine) -> list[str]:
    """The program, with what goes before the command."""
    if engine.kind == "docker":
        return [engine.program]
    modules = [f"--module={module}" for module in each(file, section, "ContainersConfModule")]
    return [engine.program, *modules, *arguments(file, section, "GlobalArgs")]


def fatal(findings: list[Finding], engine: Engine) -> Iterator[str]:
    return (f"{NAMES[engine.kind]} cannot do {finding.key}=: {finding.why}" for finding in findings if finding.fatal)


def _json_list(value: str) -> list[str]:
    if not value.startswith("["):
        return []
    try:
        found = json.loads(value)
    except ValueError:
        return []
    except RecursionError:
        raise InvalidUnit(f"{shown(value)} is nested too deeply") from None
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else []


def _docker_check(value: str) -> str:
    """A HealthCmd= as the command of the shell that Docker runs it by; "" for no check. Podman reads a JSON list or a first word CMD (an
    exact argument list), CMD-SHELL (a command of the shell) and NONE, in any letters (MakeHealthCheckFromCli in its specgenutil)."""
    listed = _json_list(value)
    first, *rest = listed or value.split(" ", 1)
    match first.upper():
        case "NONE":
            return ""
        case "CMD":
            check = _for_shell(rest if listed else " ".join(rest).split())
        case "CMD-SHELL":
            check = " ".join(rest)
        case _:
            check = _for_shell(listed) if len(listed) > 1 else listed[0] if listed else value
    if not check.strip():
        raise InvalidUnit(f"HealthCmd={shown(value)} has no command")
    return check


def _for_shell(listed: list[str]) -> str:
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in listed)


def _mount_fields(mount: str) -> list[str]:
    try:
        return next(csv.reader([mount]), [])
    except csv.Error as error:
        raise InvalidUnit(f"Mount={shown(mount)} is no line of CSV: {error}") from None


def _target(volume: str) -> str:
    parts = volume.split(":")
    return parts[1] if len(parts) > 1 else parts[0]


def _csv(fields: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(fields)
    return out.getvalue()
