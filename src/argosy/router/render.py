"""From keys to an nginx configuration: what is served, what is refused and why, and the text. Pure and deterministic.

Nothing that a user wrote reaches the text unless `naming` has let it through, and addresses reach it as IP addresses only: nginx
resolves no names, so neither a hostile value nor a missing DNS entry can make it refuse the whole configuration.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import re
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence

import jinja2
import msgspec

from argosy.errors import InvalidInput
from argosy.model import Entry, RefusedRoute
from argosy.router.naming import MAX_HOST, Address, check_app, check_domain, check_instance, parse_address, printable
from argosy.router.tls.plan import Certificate, Face, faces
from argosy.router.tuning import APP, Tuning, all_apps, directives, merge, one_app, parse_tuning

TEMPLATE = "nginx.conf.j2"
OURS = "argosy/"
"""Our own templates are always there under this name too, so that an operator's can extend them."""

HEALTH = "/_argosy/health"
HEALTH_HOST = "_argosy"
"""A Host that no app can have, so that the health page is always the router's own."""

SETTINGS = "_settings"
"""/services/web/_settings/<app> holds what is set for one app. No app can have that name, and etcd hides it from listings."""

MAX_APPS = 5_000
MAX_INSTANCES = 500
MAX_SERVERS = 20_000

_WORKERS = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)

Names = Mapping[str, tuple[str, ...]]
"""Host names and the IP addresses they resolve to, () for one that does not; one that is missing has not been asked yet: its key waits."""


class Settings(msgspec.Struct, frozen=True):
    """What the operator decides. `include`: nginx files included in http{}. `trusted`: networks of proxies in front whose
    X-Forwarded-For and -Proto are believed. `nofile`: open files per worker, not above the hard limit. `tuning`: what is set for all apps.
    `tls_listen`: where TLS is served; `proxy_protocol`: with a PROXY line first, believed from `trusted`. `redirect`: http is sent to
    https, once there is a certificate. `hsts`: seconds of Strict-Transport-Security, 0 for none."""

    listen: tuple[str, ...] = ("0.0.0.0:80",)
    tls_listen: tuple[str, ...] = ()
    proxy_protocol: bool = False
    redirect: bool = False
    hsts: int = 0
    domain: str = ""
    include: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    workers: str = "auto"
    nofile: int = 16_384
    tuning: Tuning = Tuning()
    access_log: bool = False

    @property
    def connections(self) -> int:
        return max(64, min(8192, self.nofile - 64))

    @property
    def max_body(self) -> str:
        """The largest request body, as operators' own templates may write it."""
        return all_apps(self.tuning).max_body

    @property
    def https(self) -> str:
        """What follows the host in an https address: ":PORT", "" for 443."""
        port = self.tls_listen[0].rpartition(":")[2] if self.tls_listen else "443"
        return "" if port == "443" else f":{port}"


class Server(msgspec.Struct, frozen=True):
    """One instance: `address` as its key says, `targets` as nginx is told (none: another instance of the app announces the same)."""

    instance: str
    address: str
    targets: tuple[str, ...]


class App(msgspec.Struct, frozen=True):
    """One app: the upstream's name, the host names it answers to, its instances (none: known, but nobody announces it now), and what is
    set for it. `excluded` are those targets that are asked last, because connections to them fail: never all of them."""

    name: str
    upstream: str
    hosts: tuple[str, ...]
    servers: tuple[Server, ...]
    tuning: Tuning = Tuning()
    excluded: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(target for server in self.servers for target in server.targets)


class Routes(msgspec.Struct, frozen=True):
    """Everything under /services/web/, sorted: what is served and what is not."""

    apps: tuple[App, ...] = ()
    refused: tuple[RefusedRoute, ...] = ()


def check_settings(settings: Settings) -> Settings:
    """The same settings, or InvalidInput that names the first wrong one."""
    if not settings.listen:
        raise InvalidInput("[router] listen is empty", remedy="name an address such as 0.0.0.0:80")
    for listen in (*settings.listen, *settings.tls_listen):
        check_listen(listen)
    for listen in settings.tls_listen:
        if listen in settings.listen:
            raise InvalidInput(f"[router] listen and tls_listen both have {listen}", remedy="http and TLS need a port each")
    if settings.hsts < 0:
        raise InvalidInput(f"[router] hsts is {settings.hsts}", remedy="give seconds, such as 31536000, or 0")
    if (settings.redirect or settings.hsts) and not settings.tls_listen:
        raise InvalidInput("[router] redirect and hsts need https", remedy="name a folder of certificates")
    if settings.proxy_protocol and not (settings.tls_listen and settings.trusted):
        raise InvalidInput("[router] proxy_protocol needs certificates and trusted", remedy="name the entries' addresses in trusted")
    reason = check_domain(settings.domain)
    if reason:
        raise InvalidInput(f"[router] domain is {printable(settings.domain)!r}: {reason}", remedy="write it as example.com")
    for path in settings.include:
        if not path.startswith("/") or not path.isprintable():
            raise InvalidInput(f"[router] include has {printable(path)!r}", remedy="give an absolute path on one line")
    if settings.workers != "auto" and not _WORKERS.fullmatch(settings.workers):
        raise InvalidInput(f"[router] workers is {printable(settings.workers)!r}", remedy="write auto or a number")
    for network in settings.trusted:
        try:
            if "%" in network:
                raise ValueError("it has a zone")
            ipaddress.ip_network(network, strict=False)
        except ValueError as error:
            raise InvalidInput(f"[router] trusted has {printable(network)!r}: {error}", remedy="write 10.0.0.0/8 or 10.0.0.1") from error
    return settings


def check_listen(listen: str) -> str:
    """IPV4:PORT, [IPV6]:PORT or *:PORT, as it is. Raises InvalidInput."""
    host, _, port = listen.rpartition(":")
    try:
        if "%" in host:
            raise ValueError("it has a zone")
        if host != "*":
            ipaddress.ip_address(host[1:-1]) if host.startswith("[") and host.endswith("]") else ipaddress.IPv4Address(host)
        if not port.isdecimal() or not port.isascii() or not 1 <= int(port) <= 65535:
            raise ValueError("the port is not a number from 1 to 65535")
    except ValueError as error:
        raise InvalidInput(
            f"{printable(listen)!r} is no address to listen on: {error}", remedy="write 0.0.0.0:80, *:80 or [::]:80"
        ) from error
    return listen


def hostnames(entries: Mapping[str, Entry]) -> frozenset[str]:
    """The host names among the addresses: resolve these and hand them to `routes_of`. Keys are as the view gives them, <app>/<instance>."""
    found = set()
    for entry in entries.values():
        if not entry.directory and not entry.binary:
            try:
                address = parse_address(entry.value)
            except InvalidInput:
                continue
            if not address.literal:
                found.add(address.host)
    return frozenset(found)


def routes_of(entries: Mapping[str, Entry], names: Names, domain: str = "") -> Routes:
    """What to serve. `entries` are keyed by their path under /services/web/. One bad key never disturbs another."""
    found: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {}
    tunings: dict[str, Tuning] = {}
    refused: list[RefusedRoute] = []
    servers = 0
    for key in sorted(entries):
        app, _, instance = key.partition("/")
        try:
            if app == SETTINGS:
                tunings.update(_tuning(instance, entries[key]))
                continue
            route = _route(app, instance, entries[key], names, domain)
            if app not in found and len(found) >= MAX_APPS:
                raise InvalidInput(f"there are more than {MAX_APPS} apps: this router serves the first {MAX_APPS}, by name")
            known = found.setdefault(app, [])
            if route is None:
                continue
            if len(known) >= MAX_INSTANCES or servers >= MAX_SERVERS:
                raise InvalidInput(f"a router serves at most {MAX_INSTANCES} instances of an app and {MAX_SERVERS} in all")
        except InvalidInput as error:
            if not check_app(app) and len(found) < MAX_APPS:
                found.setdefault(app, [])
            refused.append(RefusedRoute(printable(f"/services/web/{key}", 300), str(error)))
            continue
        servers += len(route)
        known.append((instance, entries[key].value, route))
    unset = Tuning()
    return Routes(tuple(_app(name, found[name], domain, tunings.get(name, unset)) for name in sorted(found)), tuple(refused))


def _tuning(app: str, entry: Entry) -> dict[str, Tuning]:
    """What a key of settings sets, by app; {} for their directory. Raises InvalidInput."""
    if entry.directory and not app:
        return {}
    reason = check_app(app)
    if reason:
        raise InvalidInput(reason)
    if entry.directory or entry.binary:
        raise InvalidInput("settings are a line of text", remedy="write /services/web/_settings/<app> = max_body=10g")
    return {app: parse_tuning(entry.value, APP)}


def _route(app: str, instance: str, entry: Entry, names: Names, domain: str) -> tuple[str, ...] | None:
    """Where the instance is reached, None for an app's own directory and for a name not asked yet. Raises InvalidInput with the broken
    rule."""
    reason = check_app(app)
    if reason:
        raise InvalidInput(reason)
    if domain and len(app) + 1 + len(domain) > MAX_HOST:
        raise InvalidInput(f"{app}.{domain} has more than {MAX_HOST} characters, which no host name may have")
    if entry.directory and not instance:
        return None
    reason = check_instance(instance)
    if reason:
        raise InvalidInput(reason)
    if entry.directory:
        raise InvalidInput("this is a directory where an address is expected")
    if entry.binary:
        raise InvalidInput("the value is not text")
    address = parse_address(entry.value)
    return _targets(address, names)


def _targets(address: Address, names: Names) -> tuple[str, ...] | None:
    if address.literal:
        return (address.at(address.host),)
    ips = names.get(address.host)
    if ips is None:
        return None
    if not ips:
        raise InvalidInput(f"host name {printable(address.host)} does not resolve here", remedy="announce an IP address")
    return tuple(address.at(ip) for ip in sorted(ips))


def _app(name: str, instances: Sequence[tuple[str, str, tuple[str, ...]]], domain: str, tuning: Tuning) -> App:
    seen: set[str] = set()
    servers = []
    for instance, address, targets in instances:
        fresh = tuple(target for target in targets if target not in seen)
        seen.update(fresh)
        servers.append(Server(instance, address, fresh))
    hosts = (f"{name}.{domain}",) if domain else (name, f"{name}.*")
    return App(name, upstream_name(name), hosts, tuple(servers), tuning)


def upstream_name(app: str) -> str:
    """Return an app's name in nginx. nginx compares each with all others, those of equal length byte by byte: so they begin with a hash of
    varying length. With 5,000 apps that makes nginx three times as fast at reading its configuration."""
    number = zlib.crc32(app.encode())
    return f"{number:08x}{'-' * (number % 61)}_{app}"


def excluding(routes: Routes, failing: Collection[str]) -> Routes:
    """The routes with the targets excluded that fail, in every app that has one which does not."""
    if not failing:
        return routes
    return msgspec.structs.replace(routes, apps=tuple(_excluding(app, failing) for app in routes.apps))


def _excluding(app: App, failing: Collection[str]) -> App:
    targets = app.targets
    excluded = tuple(sorted(target for target in targets if target in failing))
    return msgspec.structs.replace(app, excluded=excluded) if 0 < len(excluded) < len(targets) else app


class SharedServer(msgspec.Struct, frozen=True):
    """One server of several apps: the certificate that it shows, and the hosts of each app that it has."""

    certificate: Certificate | None
    names: tuple[tuple[str, ...], ...]


_MAP_WORDS = frozenset({"default", "hostnames", "include", "volatile"})
"""Words of nginx's map that a host may be called as well."""


def is_shared(app: App) -> bool:
    """Whether an app can share a server: an instance is announced and nothing is set for it alone."""
    return bool(app.servers) and app.tuning == Tuning()


def shared_servers(apps: Sequence[App], faces_of: Callable[[App], tuple[Face, ...]]) -> tuple[tuple[SharedServer, ...], list[str]]:
    """The servers that these apps share, one for each certificate, and the lines of the map from their hosts to their upstreams."""
    groups: dict[str, tuple[Certificate | None, list[tuple[str, ...]]]] = {}
    named = []
    for app in apps:
        for face in faces_of(app):
            group = groups.setdefault(face.certificate.name if face.certificate else "", (face.certificate, []))
            group[1].append(face.hosts)
            named += [f"    {_map_key(host)} {app.upstream};" for host in face.hosts]
    return tuple(SharedServer(certificate, tuple(names)) for certificate, names in groups.values()), named


def _map_key(host: str) -> str:
    return f"\\{host}" if host in _MAP_WORDS else host


class Fragments:
    """The text of each app in the latest configuration, so that the next one costs no more than what has changed. `begin` before each
    rendering; the template calls it around an app's text: {% call fragment(app) %} ... {% endcall %}."""

    def __init__(self) -> None:
        self._same: object = None
        self._before: dict[tuple[App, tuple[Face, ...]], str] = {}
        self._now: dict[tuple[App, tuple[Face, ...]], str] = {}
        self._faces: Callable[[App], tuple[Face, ...]] = lambda app: ()

    def begin(self, same: object, faces: Callable[[App], tuple[Face, ...]]) -> None:
        """`same` is all that the text of an app depends on, beside the app and its `faces`: if it changes, all is rendered anew."""
        self._before = self._now if same == self._same else {}
        self._same, self._now, self._faces = same, {}, faces

    @property
    def kept(self) -> dict[str, str]:
        """The text of each app in the latest configuration, by name."""
        return {app.name: text for (app, _), text in self._now.items()}

    def __call__(self, app: App, caller: Callable[[], str]) -> str:
        key = app, self._faces(app)
        text = self._before.get(key)
        self._now[key] = text = caller() if text is None else text
        return text


def render(
    routes: Routes,
    settings: Settings,
    sources: Mapping[str, str],
    certificates: Sequence[Certificate] = (),
    fragments: Fragments | None = None,
) -> str:
    """nginx.conf. `sources` are templates by name, TEMPLATE among them; `certificates` are those that may be served, the default first;
    `fragments` what was rendered before. Raises InvalidInput for a template that cannot be rendered."""
    names: frozenset[str] = frozenset() if settings.domain else frozenset(app.name for app in routes.apps)

    def faces_of(app: App) -> tuple[Face, ...]:
        return faces(app.name, app.hosts, certificates, names)

    router = all_apps(settings.tuning)
    ours = sources[TEMPLATE] == sources.get(OURS + TEMPLATE)  # an operator's template may have its own text for each app's server
    shared, named = shared_servers([app for app in routes.apps if ours and is_shared(app)], faces_of)

    def tuned(app: App) -> tuple[Tuning, tuple[str, ...]]:
        """All that holds for an app, and nginx's directives for what is its own."""
        return merge(router, app.tuning), directives(one_app(router, app.tuning))

    fragment = fragments or Fragments()
    fragment.begin((settings, tuple(certificates), dict(sources)), faces_of)
    values = {
        "apps": routes.apps,
        "settings": settings,
        "health": HEALTH,
        "certificates": certificates,
        "faces": faces_of,
        "router": router,
        "directives": directives(router),
        "tuned": tuned,
        "shared": shared,
        "named": named,
        "is_shared": lambda app: ours and is_shared(app),
        "foldings": FOLDINGS,
        "fragment": fragment,
    }
    return rendered(TEMPLATE, sources, values)


def foldings(name: str) -> tuple[str, ...]:
    """Return the other spellings of a header's name that WSGI and CGI do not tell from it: with _ for a hyphen."""
    spelled = ("".join(parts) for parts in itertools.product(*(("-", "_") if char == "-" else (char,) for char in name)))
    return tuple(other for other in spelled if other != name)


FOLDINGS = tuple(
    other
    for name in ("X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Content-Length", "Transfer-Encoding")
    for other in foldings(name)
)
"""Headers that are never passed on: an app might take them for what the router says, or for where a request ends."""


def _quoted(text: str) -> str:
    """A word of nginx's configuration language, whatever is in it (without line breaks, which `check_settings` refuses)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def rendered(name: str, sources: Mapping[str, str], values: Mapping[str, object]) -> str:
    """A template with its values. Raises InvalidInput for one that cannot be rendered."""
    try:
        return _environment(tuple(sorted(sources.items()))).get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise InvalidInput(f"template {error} does not exist", remedy=f"there are {', '.join(sorted(sources))}") from error
    except jinja2.TemplateError as error:
        where = f" line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise InvalidInput(f"template {name}{where} cannot be rendered: {error}", remedy="correct the operator's template") from error


@functools.lru_cache(maxsize=4)
def _environment(sources: tuple[tuple[str, str], ...]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(dict(sources)),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quoted"] = _quoted
    environment.filters["printable"] = printable
    return environment
