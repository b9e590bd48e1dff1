"""Who may ask an API over a listener. Every API of ours asks here before anything else.

1. What a proxy passed on is refused, unless that proxy is named in the configuration: whoever may announce an instance can make a router
   send requests to a listener of its machine.
2. Over plain HTTP a Host that is somebody's domain is refused, and so is any Origin but the listener's own: web pages in a browser
   on this machine reach its listeners, and may have rebound their own name to 127.0.0.1.
3. A user of this machine gets over TCP what the unix socket's mode gives: everything for the agent's own user, root and the members of
   its group; for others only what the API declares harmless.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Sequence
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from argosy.errors import InvalidInput, Refused
from argosy.web.connections import connection_of
from argosy.web.peers import Peer
from argosy.web.users import Users

UNIX = "unix:"
"""A proxy that asks through the unix socket, as nginx's set_real_ip_from writes it."""

READING = ("GET", "HEAD")
PROXY_HEADERS = frozenset({"forwarded", "via", "x-real-ip"})
PROXY_PREFIX = "x-forwarded"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Client(msgspec.Struct, frozen=True):
    """Who asks and how, as seen from outside: what a trusted proxy says of its client, else what the connection says."""

    address: str
    scheme: str
    host: str


CLIENT = web.RequestKey("client", Client)


def networks(texts: Iterable[str], setting: str) -> tuple[Network, ...]:
    """Raises InvalidInput that names the setting."""
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise InvalidInput(
                f"{setting}: {text!r} is no network", remedy="write an address or ADDRESS/BITS, such as 10.0.0.0/8"
            ) from None
    return tuple(found)


def contains(known: Iterable[Network], address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in known)


def nothing(request: web.Request) -> bool:
    return False


def reading(request: web.Request) -> bool:
    return request.method in READING


class Admission:
    """The rules of one API over one kind of listener. Raises InvalidInput for a network that is none.

    `users`: who may do everything over TCP (None: something else decides, such as the socket's mode, a certificate or a password).
    `harmless`: what anybody who reaches the listener may ask. `others`: who else may do everything, asked for those who are not
    `users`. `trusted`: networks of proxies in front, and "unix:". `pages`: whether web pages of others are kept away. `hosts`: names
    that the Host may have beside this machine's own (None: any, where no page can come). `section` of the configuration, `command`
    (that has the same settings as options) and `remedy` are for errors.
    """

    def __init__(
        self,
        section: str,
        *,
        users: Users | None = None,
        harmless: Callable[[web.Request], bool] = nothing,
        others: Callable[[web.Request, Peer], Awaitable[bool]] | None = None,
        trusted: Sequence[str] = (),
        pages: bool = True,
        hosts: Sequence[str] | None = (),
        remedy: str = "",
        command: str = "",
    ) -> None:
        self._section = section
        self._users = users
        self._harmless = harmless
        self._others = others
        self._unix_trusted = UNIX in trusted
        self._trusted = networks((text for text in trusted if text != UNIX), f"[{section}] trusted")
        self._pages = pages
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._remedy = remedy or f"ask as root, as the user of the agent, or as a member of the group of [{section}] group"
        self._command = command

    @property
    def middleware(self) -> Middleware:
        @web.middleware
        async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
            await self.check(request)
            return await handler(request)

        return admit

    async def check(self, request: web.Request) -> None:
        """Raises Refused. Leaves a Client in the request."""
        connection = connection_of(request)
        request[CLIENT] = self._client(request, connection.peer)
        if self._pages:
            self._check_page(request)
        if self._users is None or connection.granted or self._harmless(request):
            return
        if not await self._may(request, connection.peer, self._users):
            raise Refused(f"{_who(connection.peer)} may not do that here", remedy=self._remedy)
        connection.granted = True

    async def _may(self, request: web.Request, peer: Peer, users: Users) -> bool:
        if peer.uid is not None and await users.may(peer.uid):
            return True
        return self._others is not None and await self._others(request, peer)

    def _setting(self, field: str, value: str) -> str:
        option = f", or {self._command} --{field.removesuffix('s')} {value}" if self._command else ""
        return f"[{self._section}] {field} = [{value!r}]{option}"

    def _client(self, request: web.Request, peer: Peer) -> Client:
        seen = _seen(request, peer)
        if not passed_on(request):
            return seen
        if not (self._unix_trusted if peer.is_unix else contains(self._trusted, peer.address)):
            raise Refused(
                "this came through a proxy that is not named here",
                remedy=f"ask directly, or name the proxy: {self._setting('trusted', peer.address or UNIX)}",
            )
        scheme = request.headers.get("X-Forwarded-Proto", "").lower()
        return Client(
            self._first_untrusted(request.headers.getall("X-Forwarded-For", ())) or peer.address,
            scheme if scheme in ("http", "https") else seen.scheme,
            request.headers.get("X-Forwarded-Host", "") or seen.host,
        )

    def _first_untrusted(self, lines: Iterable[str]) -> str:
        """The last address that a trusted proxy added: those before it are what its client claimed."""
        addresses = [part.strip() for part in ",".join(lines).split(",") if part.strip()]
        for address in reversed(addresses):
            if not contains(self._trusted, address):
                return address
        return addresses[0] if addresses else ""

    def _check_page(self, request: web.Request) -> None:
        """Raises Refused for what a foreign web page would send. The Host that counts is the one on the wire: a page cannot forge it."""
        host = request.headers.get("Host", "")
        try:
            if host and self._hosts is not None and not is_local_name(host) and _name(host) not in self._hosts:
                raise Refused(
                    f"Host {host[:255]!r} is not this machine",
                    remedy=f"ask by address or as localhost, or allow the name: {self._setting('hosts', _name(host)[:255])}",
                )
            origin = request.headers.get("Origin")
            if origin is not None and urlsplit(origin).netloc.lower() not in (host.lower(), request[CLIENT].host.lower()):
                raise Refused(f"a page of {origin[:255]!r} may not ask here")
        except ValueError:
            raise Refused("Host or Origin is not valid", remedy="ask by address or as localhost") from None


def _name(host: str) -> str:
    """The name in a Host header, in lower case. Raises ValueError."""
    return urlsplit(f"//{host}").hostname or ""


def client_of(request: web.Request) -> Client:
    """Who asks, as admission found out; of an application that has none, what the connection says."""
    return request.get(CLIENT) or _seen(request, connection_of(request).peer)


def _seen(request: web.Request, peer: Peer) -> Client:
    return Client(peer.address, request.scheme, request.headers.get("Host", ""))


def passed_on(request: web.Request) -> bool:
    """True if a request shows that a proxy passed it on, by its headers, or that it is meant for one: its target names another server
    than its Host. (One that names this server is what fleetctl 0.11 sends.)"""
    if any(name.lower() in PROXY_HEADERS or name.lower().startswith(PROXY_PREFIX) for name in request.headers):
        return True
    target = request.raw_path
    return not target.startswith("/") and target != "*" and _authority(target) != request.headers.get("Host", "").lower()


def _authority(target: str) -> str | None:
    try:
        return urlsplit(target).netloc.lower() or None
    except ValueError:
        return None


def is_local_name(host: str) -> bool:
    """True for a Host header that no web page can have: an address, localhost, or a name without dots (a container's or a machine's
    short name)."""
    name = _name(host)
    if name == "localhost" or name.endswith((".localhost", ".internal")):
        return True
    if "." not in name and ":" not in name:
        return name != ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _who(peer: Peer) -> str:
    if peer.uid is not None:
        return f"user {peer.uid}"
    return f"{peer.address}, whom no user of this machine holds,"
