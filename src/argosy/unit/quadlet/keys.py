"""Every key of Podman's Quadlet files, how its value is read, and what becomes of it on each engine.

The keys and their reading are those of Podman 6 (podman-container.unit(5), podman-volume.unit(5), podman-network.unit(5)).
`docs/quadlet.md` shows these tables; a test keeps the two alike.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

import msgspec

from argosy.unit.quadlet.names import ENDINGS

EngineKind = Literal["docker", "podman"]


class Read(Enum):
    """How values become words, as Quadlet reads them."""

    LAST = "the last line counts, as it stands"
    EACH = "each line, as it stands"
    WORDS = "words of each line, backslashes kept"
    ARGUMENTS = "words of each line, with C escapes"
    PAIRS = "key=value words of each line"
    SWITCH = "yes or no"
    OWN = "see the note"


class Ignored(msgspec.Struct, frozen=True):
    """The container runs without it, and `argosy verify` says so."""

    why: str


class Refused(msgspec.Struct, frozen=True):
    """A container without it would not be what the file asks for: such an engine does not run it."""

    why: str


Way = str | Ignored | Refused
"""`--flag` (then the value), `--flag=` (with the value in the same word), `--flag text` (text and value in the second word)."""


class Key(msgspec.Struct, frozen=True):
    name: str
    read: Read
    podman: Way
    docker: Way
    note: str = ""

    def way(self, engine: EngineKind) -> Way:
        return self.docker if engine == "docker" else self.podman


def _refused(name: str, why: str) -> Key:
    return Key(name, Read.OWN, Refused(why), Refused(why))


def _both(name: str, read: Read, flag: str, note: str = "") -> Key:
    return Key(name, read, flag, flag, note)


_LAST, _EACH, _WORDS, _ARGUMENTS, _PAIRS, _SWITCH, _OWN = Read
_PODMAN_ONLY = Ignored("Docker has no such setting")
_NO_PODS = Refused("there are no pods here: put the containers on one machine with [X-Fleet] MachineOf=")
_OLD = Refused("deprecated in Podman; write UserNS=")
_UPDATES = Ignored("which image runs is decided by whoever deploys, not by each machine")
_MAPS = Refused("Docker maps users for the whole daemon (userns-remap), not for a container")

CONTAINER = (
    _both("AddCapability", _WORDS, "--cap-add"),
    _both("AddDevice", _WORDS, "--device", "`-` in front: only where the machine has it"),
    _both("AddHost", _EACH, "--add-host"),
    _both("Annotation", _PAIRS, "--annotation", "Docker 25 and newer"),
    _both("AppArmor", _LAST, "--security-opt apparmor="),
    Key("AutoUpdate", _LAST, _UPDATES, _UPDATES),
    Key("CgroupsMode", _LAST, "--cgroups", _PODMAN_ONLY, "under the supervisor, and without cgroup v2, Podman's own default"),
    _both("ContainerName", _OWN, "--name", "default: systemd-%N, of an instance systemd-%p_%i"),
    Key("ContainersConfModule", _EACH, "--module=", _PODMAN_ONLY, "before the command"),
    _both("DNS", _EACH, "--dns"),
    _both("DNSOption", _EACH, "--dns-option"),
    _both("DNSSearch", _EACH, "--dns-search"),
    _both("DropCapability", _WORDS, "--cap-drop"),
    _both("Entrypoint", _OWN, "--entrypoint=", "an empty one clears the image's; a JSON list is split for Docker"),
    _both("Environment", _PAIRS, "--env"),
    _both("EnvironmentFile", _ARGUMENTS, "--env-file", "absolute: a path beside the unit file is on no machine"),
    Key("EnvironmentHost", _SWITCH, "--env-host", Refused("Docker has no --env-host: list the variables in Environment=")),
    _both("Exec", _OWN, "after the image"),
    _both("ExposeHostPort", _EACH, "--expose"),
    Key("GIDMap", _WORDS, "--gidmap", _MAPS),
    Key("GlobalArgs", _ARGUMENTS, "before the command", Ignored("these are arguments of podman")),
    _both("Group", _OWN, "--user", "with User="),
    _both("GroupAdd", _EACH, "--group-add", "keep-groups: Podman only"),
    _both("HealthCmd", _LAST, "--health-cmd", "for Docker a JSON list is quoted for the shell, and none is --no-healthcheck"),
    _both("HealthInterval", _LAST, "--health-interval", "disable: Podman only"),
    Key("HealthLogDestination", _LAST, "--health-log-destination", _PODMAN_ONLY),
    Key("HealthMaxLogCount", _LAST, "--health-max-log-count", _PODMAN_ONLY),
    Key("HealthMaxLogSize", _LAST, "--health-max-log-size", _PODMAN_ONLY),
    Key("HealthOnFailure", _LAST, "--health-on-failure", Ignored("Docker only marks a container unhealthy and leaves it running")),
    _both("HealthRetries", _LAST, "--health-retries"),
    _both("HealthStartPeriod", _LAST, "--health-start-period"),
    Key("HealthStartupCmd", _LAST, "--health-startup-cmd", _PODMAN_ONLY),
    Key("HealthStartupInterval", _LAST, "--health-startup-interval", _PODMAN_ONLY),
    Key("HealthStartupRetries", _LAST, "--health-startup-retries", _PODMAN_ONLY),
    Key("HealthStartupSuccess", _LAST, "--health-startup-success", _PODMAN_ONLY),
    Key("HealthStartupTimeout", _LAST, "--health-startup-timeout", _PODMAN_ONLY),
    _both("HealthTimeout", _LAST, "--health-timeout"),
    _both("HostName", _LAST, "--hostname"),
    Key("HttpProxy", _SWITCH, "--http-proxy", Ignored("Docker passes no proxy of the host; its client's configuration may")),
    _both("Image", _OWN, "the image", "not NAME.image or NAME.build"),
    _both("IP", _LAST, "--ip"),
    _both("IP6", _LAST, "--ip6"),
    _both("Label", _PAIRS, "--label"),
    _both("LogDriver", _LAST, "--log-driver", "k8s-file and passthrough: Podman only; the unit's log has the output in any case"),
    _both("LogOpt", _WORDS, "--log-opt"),
    Key("Mask", _ARGUMENTS, "--security-opt mask=", Refused("Docker has no way to mask further paths")),
    _both("Memory", _LAST, "--memory"),
    _both("Mount", _OWN, "--mount", "on Docker type=bind, volume or tmpfs; source=NAME.volume is resolved"),
    _both("Network", _OWN, "--network", "NAME.network and NAME.container are resolved; on Docker NAME:ip=...,alias=... too"),
    _both("NetworkAlias", _EACH, "--network-alias"),
    _both("NoNewPrivileges", _OWN, "--security-opt=no-new-privileges", "yes or no"),
    Key("Notify", _OWN, "--sdnotify", "ExecStartPost=", "on Docker healthy only; a container cannot reach the notify socket there"),
    _both("PidsLimit", _LAST, "--pids-limit"),
    Key("Pod", _LAST, _NO_PODS, _NO_PODS),
    Key("PodmanArgs", _ARGUMENTS, "before the image", Ignored("these are arguments of podman")),
    _both("PublishPort", _EACH, "--publish"),
    _both("Pull", _LAST, "--pull", "newer: Podman only"),
    _both("ReadOnly", _SWITCH, "--read-only"),
    Key("ReadOnlyTmpfs", _OWN, "--read-only-tmpfs", "--tmpfs", "Docker gets Podman's writable /run, /tmp and /var/tmp"),
    _both("ReloadCmd", _OWN, "ExecReload=", "exec in the container"),
    _both("ReloadSignal", _OWN, "ExecReload=", "kill --signal"),
    Key("RemapGid", _OWN, _OLD, _OLD),
    Key("RemapUid", _OWN, _OLD, _OLD),
    Key("RemapUidSize", _OWN, _OLD, _OLD),
    Key("RemapUsers", _OWN, _OLD, _OLD),
    Key("Retry", _LAST, "--retry", Ignored("Docker tries once; the agent tries again")),
    Key("RetryDelay", _LAST, "--retry-delay", Ignored("Docker tries once; the agent tries again")),
    Key("Rootfs", _OWN, "--rootfs", Refused("Docker runs images only")),
    _both("RunInit", _SWITCH, "--init"),
    _both("SeccompProfile", _LAST, "--security-opt seccomp="),
    Key("Secret", _ARGUMENTS, "--secret", Refused("Docker has secrets in swarm mode only"), "Podman: it must exist on the machine"),
    _both("SecurityLabelDisable", _OWN, "--security-opt label=disable", "yes or no"),
    Key("SecurityLabelFileType", _LAST, "--security-opt label=filetype:", _PODMAN_ONLY),
    _both("SecurityLabelLevel", _LAST, "--security-opt label=level:"),
    Key("SecurityLabelNested", _OWN, "--security-opt label=nested", _PODMAN_ONLY, "yes or no"),
    _both("SecurityLabelType", _LAST, "--security-opt label=type:"),
    _refused("ServiceName", "a unit is named after its file"),
    _both("ShmSize", _LAST, "--shm-size"),
    Key("StartWithPod", _SWITCH, _NO_PODS, _NO_PODS),
    _both("StopSignal", _LAST, "--stop-signal"),
    _both("StopTimeout", _LAST, "--stop-timeout", "TimeoutStopSec= follows if it is not set"),
    Key("SubGIDMap", _LAST, "--subgidname", _MAPS),
    Key("SubUIDMap", _LAST, "--subuidname", _MAPS),
    _both("Sysctl", _WORDS, "--sysctl"),
    Key("Timezone", _OWN, "--tz", "--mount", "Docker: the machine's zone file over /etc/localtime"),
    _both("Tmpfs", _EACH, "--tmpfs"),
    Key("UIDMap", _WORDS, "--uidmap", _MAPS),
    _both("Ulimit", _EACH, "--ulimit", "host: Podman only"),
    Key("Unmask", _ARGUMENTS, "--security-opt unmask=", "--security-opt systempaths=unconfined", "on Docker ALL only"),
    _both("User", _OWN, "--user"),
    _both("UserNS", _LAST, "--userns", "on Docker host only"),
    _both("VolatileTmp", _OWN, "--tmpfs", "deprecated in Podman; yes or no"),
    _both("Volume", _OWN, "-v", "NAME.volume is resolved; U, idmap, exec, dev and the like: Podman only"),
    _both("WorkingDir", _LAST, "--workdir"),
)

_DOCKER_OWNER = Refused("Docker's volumes take an owner only with Device=")

VOLUME = (
    Key("ContainersConfModule", _EACH, "--module=", _PODMAN_ONLY, "before the command"),
    Key("Copy", _OWN, "--opt copy", Ignored("Docker always copies; Volume=…:nocopy stops it"), "yes or no"),
    _both("Device", _OWN, "--opt device="),
    _both("Driver", _LAST, "--driver", "image: Podman only"),
    Key("GID", _LAST, "--gid", _DOCKER_OWNER),
    Key("GlobalArgs", _ARGUMENTS, "before the command", Ignored("these are arguments of podman")),
    _both("Group", _OWN, "--opt o=gid=", "on Docker with Device= only"),
    Key("Image", _OWN, "--opt image=", Refused("Docker has no volumes of images")),
    _both("Label", _PAIRS, "--label"),
    _both("Options", _OWN, "--opt o="),
    Key("PodmanArgs", _ARGUMENTS, "before the name", Ignored("these are arguments of podman")),
    _refused("ServiceName", "a unit is named after its file"),
    _both("Type", _OWN, "--opt type=", "with Device="),
    Key("UID", _LAST, "--uid", _DOCKER_OWNER),
    _both("User", _OWN, "--opt o=uid=", "on Docker with Device= only"),
    _both("VolumeName", _OWN, "the name", "default: systemd-NAME"),
)

NETWORK = (
    Key("ContainersConfModule", _EACH, "--module=", _PODMAN_ONLY, "before the command"),
    Key("DisableDNS", _SWITCH, "--disable-dns", _PODMAN_ONLY),
    Key("DNS", _EACH, "--dns", Ignored("Docker's networks have no DNS servers of their own: set DNS= in the container")),
    _both("Driver", _LAST, "--driver"),
    _both("Gateway", _OWN, "--gateway", "after its Subnet="),
    Key("GlobalArgs", _ARGUMENTS, "before the command", Ignored("these are arguments of podman")),
    Key("InterfaceName", _LAST, "--interface-name", "--opt com.docker.network.bridge.name="),
    _both("Internal", _SWITCH, "--internal"),
    Key("IPAMDriver", _LAST, "--ipam-driver", _PODMAN_ONLY),
    _both("IPRange", _OWN, "--ip-range", "after its Subnet="),
    _both("IPv6", _SWITCH, "--ipv6"),
    _both("Label", _PAIRS, "--label"),
    _both("NetworkDeleteOnStop", _OWN, "ExecStopPost=", "yes or no"),
    _both("NetworkName", _OWN, "the name", "default: systemd-NAME"),
    _both("Options", _PAIRS, "--opt", "mtu is com.docker.network.driver.mtu on Docker"),
    Key("PodmanArgs", _ARGUMENTS, "before the name", Ignored("these are arguments of podman")),
    _refused("ServiceName", "a unit is named after its file"),
    _both("Subnet", _OWN, "--subnet"),
)

QUADLET = ("DefaultDependencies",)
"""Keys of [Quadlet], which may stand in each of the files."""

KEYS: dict[str, dict[str, Key]] = {
    section: {key.name: key for key in keys} for section, keys in (("Container", CONTAINER), ("Volume", VOLUME), ("Network", NETWORK))
}
SUFFIXES = {ending: ending.title() for ending in ENDINGS}
"""Ending of a file's name to the section that makes it one."""
