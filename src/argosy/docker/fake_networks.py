"""The fake's networks, addresses, published ports and volumes."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence

from argosy.docker.base import Json
from argosy.docker.fake_container import FakeContainer
from argosy.docker.fake_images import stamp
from argosy.errors import Conflict, InvalidInput, NotFound, Refused, RuntimeFailed

OWN = ("bridge", "host", "none")
EPHEMERAL = 49153


class FakeNetwork:
    def __init__(self, number: int, config: Json, now: float) -> None:
        self.name = str(config["Name"])
        self.driver = str(config.get("Driver") or "bridge")
        self.id = hashlib.sha256(f"network {number} {self.name}".encode()).hexdigest()
        given = (config.get("IPAM") or {}).get("Config") or []
        try:
            self.subnet = ipaddress.ip_network(given[0]["Subnet"] if given else f"172.{17 + number % 200}.0.0/16")
        except (ValueError, KeyError) as error:
            raise InvalidInput(f"cannot create network {self.name}: {error}") from None
        self.config = config
        self.created = now
        self.members: dict[str, Json] = {}
        self._next = 2

    def shown(self) -> Json:
        containers = {
            id: {"Name": one["name"], "EndpointID": one["EndpointID"], "MacAddress": one["MacAddress"], "IPv4Address": one["cidr"]}
            for id, one in self.members.items()
        }
        pools = [{"Subnet": str(self.subnet), "Gateway": str(self.subnet[1])}] if self.addressed else []
        return {
            "Name": self.name, "Id": self.id, "Created": stamp(self.created), "Scope": "local", "Driver": self.driver,
            "Internal": bool(self.config.get("Internal")), "Attachable": bool(self.config.get("Attachable")), "Ingress": False,
            "Labels": dict(self.config.get("Labels") or {}), "Options": dict(self.config.get("Options") or {}), "Containers": containers,
            "IPAM": {"Driver": "default", "Config": pools},
        }  # fmt: skip

    @property
    def addressed(self) -> bool:
        return self.driver not in ("host", "null")

    def join(self, container: FakeContainer, aliases: Sequence[str] = ()) -> Json:
        """The endpoint, as the container shows it. Its address is there while the container runs."""
        endpoint: Json = {
            "NetworkID": self.id, "Aliases": list(aliases) or None, "EndpointID": "", "IPAddress": "", "Gateway": "", "MacAddress": "",
            "IPPrefixLen": 0, "IPAMConfig": {}, "Links": None, "DriverOpts": None,
        }  # fmt: skip
        container.networks[self.name] = endpoint
        return endpoint

    def plug(self, container: FakeContainer) -> None:
        endpoint = container.networks[self.name]
        endpoint["EndpointID"] = hashlib.sha256(f"{self.id} {container.id}".encode()).hexdigest()
        if self.addressed:
            address = self.subnet[self._next]
            self._next += 1
            mac = ":".join(f"{part:02x}" for part in (0x02, 0x42, *address.packed[-4:]))
            endpoint |= {"IPAddress": str(address), "Gateway": str(self.subnet[1]), "MacAddress": mac, "IPPrefixLen": self.subnet.prefixlen}
        cidr = f"{endpoint['IPAddress']}/{endpoint['IPPrefixLen']}" if self.addressed else ""
        self.members[container.id] = {**endpoint, "name": container.name, "cidr": cidr}

    def unplug(self, container: FakeContainer) -> None:
        self.members.pop(container.id, None)
        if self.name in container.networks:
            container.networks[self.name] |= {"EndpointID": "", "IPAddress": "", "Gateway": "", "MacAddress": "", "IPPrefixLen": 0}


def own_networks(now: float) -> dict[str, FakeNetwork]:
    drivers = {"bridge": "bridge", "host": "host", "none": "null"}
    return {name: FakeNetwork(number, {"Name": name, "Driver": drivers[name]}, now) for number, name in enumerate(OWN)}


def find_network(networks: Mapping[str, FakeNetwork], name: str) -> FakeNetwork:
    """By name, id, or unambiguous beginning of an id."""
    if name in networks:
        return networks[name]
    found = [network for network in networks.values() if network.id.startswith(name)]
    if len(found) != 1:
        raise NotFound(f"cannot find network {name}: network {name} not found")
    return found[0]


def check_removable(network: FakeNetwork) -> None:
    if network.name in OWN:
        raise Refused(f"cannot remove network {network.name}: {network.name} is a pre-defined network and cannot be removed")
    if network.members:
        raise Refused(f"cannot remove network {network.name}: error while removing network: network {network.name} has active endpoints")


def bind_ports(container: FakeContainer, others: Sequence[FakeContainer]) -> Mapping[str, list[Json]]:
    """The ports of the host that a starting container gets. RuntimeFailed if one is taken."""
    taken = {(one["HostPort"], port.partition("/")[2]) for other in others for port, bound in other.ports.items() for one in bound}
    found: dict[str, list[Json]] = {port: [] for port in container.config["ExposedPorts"]}
    for port, wishes in (container.host.get("PortBindings") or {}).items():
        kind = port.partition("/")[2] or "tcp"
        for wish in wishes or [{}]:
            wanted = str(wish.get("HostPort") or "")
            if wanted in ("", "0"):
                wanted = next(str(free) for free in range(EPHEMERAL, 65536) if (str(free), kind) not in taken)
            elif (wanted, kind) in taken:
                raise RuntimeFailed(f"cannot start container {container.name}: Bind for 0.0.0.0:{wanted} failed: port is already allocated")
            taken.add((wanted, kind))
            found.setdefault(port, []).append({"HostIp": wish.get("HostIp") or "0.0.0.0", "HostPort": wanted})
    return found


def wanted_mounts(container: FakeContainer) -> list[Json]:
    """What the container's configuration mounts: binds of folders, volumes by name, and anonymous ones (Name "")."""
    found: list[Json] = []
    for bind in container.host.get("Binds") or []:
        source, _, rest = str(bind).partition(":")
        target, _, mode = rest.partition(":")
        found.append(_mount("bind" if source.startswith("/") else "volume", source, target, "ro" not in mode.split(",")))
    found += [
        _mount(mount.get("Type", "volume"), mount.get("Source") or "", mount["Target"], not mount.get("ReadOnly"))
        for mount in container.host.get("Mounts") or []
    ]
    targets = {mount["Destination"] for mount in found}
    volumes = {**(container.config.get("Volumes") or {})}
    return found + [_mount("volume", "", path, True) for path in volumes if path not in targets]


def _mount(kind: str, source: str, target: str, writable: bool) -> Json:
    named = (
        {"Name": source, "Driver": "local", "Source": f"/var/lib/docker/volumes/{source}/_data"} if kind == "volume" else {"Source": source}
    )
    return {"Type": kind, "Destination": target, "Mode": "", "RW": writable, "Propagation": "", **named}


def volume(config: Json, name: str, now: float) -> Json:
    """A new volume, as an engine shows it."""
    return {
        "Name": name, "Driver": config.get("Driver") or "local", "Mountpoint": f"/var/lib/docker/volumes/{name}/_data", "Scope": "local",
        "CreatedAt": stamp(now), "Labels": dict(config.get("Labels") or {}), "Options": dict(config.get("DriverOpts") or {}),
    }  # fmt: skip


def check_unused(name: str, containers: Sequence[FakeContainer]) -> None:
    users = [container.id for container in containers if any(mount.get("Name") == name for mount in container.mounts)]
    if users:
        raise Conflict(f"cannot remove volume {name}: volume is in use - [{', '.join(users)}]")
