"""What an operator may set: one schema, read from a TOML file, then ARGOSY_* variables, then flags.

Each field of the file's [section] is also the variable ARGOSY_SECTION_FIELD. An unknown section, field or a value of the wrong type is an
InvalidInput that names it, what was expected and the fields that exist.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from argosy.errors import InvalidInput
from argosy.folders import default_dirs

PREFIX = "ARGOSY_"
SMALLEST_QUOTA = 16 * 1024**2
LISTS = ("listen", "tls_listen", "include", "trusted", "bridges", "hosts", "writers")


class MachineSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[machine] who this machine is. `id`: empty = /etc/machine-id, or one made once and kept in the state folder. `address`: where others
    reach it (empty = the address of the default route). `ttl`: seconds until a silent machine counts as lost."""

    id: str = ""
    name: str = ""
    address: str = ""
    metadata: dict[str, str] = {}
    ttl: float = 5.0


class PathsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[paths] `state` is kept over reboots, `run` is not. Empty: /var/lib/argosy and /run/argosy as root, the user's own otherwise."""

    state: str = ""
    run: str = ""


class StoreSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[store] `url`: sqlite:PATH (one host) or etcd:HOST:PORT,HOST:PORT,... Empty: sqlite in the state folder. etcd speaks mutual TLS with
    the certificates of [tls] unless `plain` (loopback only). `quota`: bytes that the store may hold; for etcd the members'
    --quota-backend-bytes, whose default this is. Users' keys are refused when it is three quarters full."""

    url: str = ""
    plain: bool = False
    quota: int = 2 * 1024**3


class TlsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[tls] PEM files: the cluster's authority, this machine's certificate and its key. Empty: nothing listens beyond loopback."""

    ca: str = ""
    cert: str = ""
    key: str = ""


class RuntimeSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[runtime] `kind`: auto, systemd, systemd-user or supervisor. `environment`: variables that every unit gets, as systemd's
    DefaultEnvironment= (the supervisor only: systemd has its own). `containers`: what runs Quadlet files: auto (docker where there is one,
    else podman), docker or podman."""

    kind: str = "auto"
    environment: dict[str, str] = {}
    containers: str = "auto"


class ApiSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[api] `socket`: empty = argosy.sock in the run folder. `fleet_socket`: a second socket, such as /var/run/fleet.sock. `listen`: plain
    HTTP, loopback only. `door`: HOST:PORT of the mutual TLS API for other machines (empty = the machine's address, 8700, if [tls] is set;
    "none" = none). `exec`: other machines and clients of the socket may run commands here (the lab's machines set it). `group`: its
    members may do what the agent's own user may. `trusted`: networks of proxies in front, and "unix:". `hosts`: further names that a
    Host header may have."""

    socket: str = ""
    fleet_socket: str = ""
    listen: tuple[str, ...] = ("127.0.0.1:8700",)
    door: str = ""
    exec: bool = False
    group: str = "argosy"
    trusted: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


class KeysSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[keys] the etcd v2 keys door. `listen`: loopback, and further addresses by name. `bridges`: network devices such as docker0 whose
    containers may ask too, at the machine's own address and at the bridge's, and nobody else there. All who reach it may read; `group`:
    its members may write; `writers`: networks whose hosts may write too. `trusted`, `hosts`: as in [api]. `largest`: bytes of a value
    (700,000 at most). `most`: bytes of all keys (0: a quarter of [store] quota, 512 MiB at most); `most_below`: of all keys below one
    directory of the first level (0: half of `most`)."""

    listen: tuple[str, ...] = ("127.0.0.1:4001",)
    bridges: tuple[str, ...] = ()
    group: str = "argosy"
    writers: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    largest: int = 700_000
    most: int = 0
    most_below: int = 0


class EngineSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[engine] `enabled`: this machine may lead. `strategy`: spread (the machine with the fewest units), binpack (the fullest) or random;
    that of the machine which leads counts for the cluster."""

    enabled: bool = True
    strategy: str = "spread"


class RouterSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[router] `enabled`: auto (where nginx is), yes or no. `listen`: nginx listen addresses. `certificates`: a folder of NAME.crt and
    NAME.key pairs and of .pem bundles; with it, `tls_listen` is served too. `proxy_protocol`: what comes there begins with a PROXY line,
    which is believed from `trusted`. `redirect`: http is sent to https. `hsts`: seconds of
    Strict-Transport-Security, 0 for none. `domain`: apps answer as <app>.<domain>; empty: <app>.anything. `templates`: a folder whose
    nginx.conf.j2 replaces ours. `include`: extra nginx files. `trusted`: networks of proxies in front whose X-Forwarded-For and -Proto are
    believed. `access_log`: one line a request. `settings`: limits, timeouts and retries for all apps, such as "max_body=10g
    read_timeout=10m" (docs/router.md). `nginx`: the program."""

    enabled: str = "auto"
    listen: tuple[str, ...] = ("0.0.0.0:80",)
    tls_listen: tuple[str, ...] = ("0.0.0.0:443",)
    certificates: str = ""
    proxy_protocol: bool = False
    redirect: bool = False
    hsts: int = 0
    domain: str = ""
    templates: str = ""
    include: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    access_log: bool = False
    settings: str = ""
    nginx: str = "nginx"


class ImagesSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[images] the image registry. `listen`: HOST:PORT; beyond loopback there must be users and TLS unless `allow_anyone`, `allow_plain`.
    `storage`: file:///FOLDER, az://, s3://, gs://, memory:// (empty: images in the state folder). `htpasswd`: a file of users; `rules`: one
    of what they may do. `challenge`: basic or bearer (empty: bearer if the rules let anonymous do anything). `realm`: the token endpoint's
    URL as clients reach it; `token_key`: an Ed25519 key in PEM that registries share. `cert`, `key`: PEM files (empty: beyond loopback
    those of [tls]). `mirror`: the registry that is asked for what is not here; `mirror_credentials`: a file with USER:PASSWORD.
    `collect`: hours between garbage collections (0: never); `grace`: hours that a push may take at most, and that a
    manifest without a tag is kept; `keep_untagged`: such manifests are kept for ever. `group`: without users its
    members may push, as this process's own user may. `trusted`, `hosts`: as in [api]."""

    enabled: bool = False
    listen: tuple[str, ...] = ("127.0.0.1:5000",)
    storage: str = ""
    htpasswd: str = ""
    rules: str = ""
    challenge: str = ""
    realm: str = ""
    token_key: str = ""
    read_only: bool = False
    allow_anyone: bool = False
    allow_plain: bool = False
    cert: str = ""
    key: str = ""
    mirror: str = ""
    mirror_credentials: str = ""
    collect: float = 24.0
    grace: float = 24.0
    keep_untagged: bool = False
    group: str = "argosy"
    trusted: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it. Use `load`; the paths in it are then absolute and nothing is empty that has a default."""

    machine: MachineSection = MachineSection()
    paths: PathsSection = PathsSection()
    store: StoreSection = StoreSection()
    tls: TlsSection = TlsSection()
    runtime: RuntimeSection = RuntimeSection()
    api: ApiSection = ApiSection()
    keys: KeysSection = KeysSection()
    engine: EngineSection = EngineSection()
    router: RouterSection = RouterSection()
    images: ImagesSection = ImagesSection()

    @property
    def state_dir(self) -> Path:
        return Path(self.paths.state)

    @property
    def run_dir(self) -> Path:
        return Path(self.paths.run)

    @property
    def socket(self) -> Path:
        return Path(self.api.socket)


def load(
    path: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    uid: int | None = None,
) -> Config:
    """The configuration: `path` (TOML; None: none), over it `environ`, over it `flags` ({"section.field": value}; None values are left
    out)."""
    environ = os.environ if environ is None else environ
    tree: dict[str, dict[str, Any]] = {}
    if path is not None:
        tree = _read(path)
    for name, value in environ.items():
        if name.startswith(PREFIX):
            section, _, field = name[len(PREFIX) :].lower().partition("_")
            if section in _SECTIONS and field in _SECTIONS[section]:
                tree.setdefault(section, {})[field] = _from_text(f"{name}", field, value)
    for name, value in (flags or {}).items():
        if value is not None:
            section, _, field = name.partition(".")
            tree.setdefault(section, {})[field] = value
    _check_lists(tree, path)
    try:
        config = msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as error:
        known = "; ".join(f"[{section}] {', '.join(fields)}" for section, fields in _SECTIONS.items())
        raise InvalidInput(f"configuration {path or 'from flags and variables'}: {error}", remedy=f"there are {known}") from error
    return _complete(config, environ, os.getuid() if uid is None else uid)


def changed(config: Config, settings: Mapping[str, str]) -> Config:
    """`config` with other values, {"section.field": text as in an ARGOSY_* variable}. Raises InvalidInput, also for an unknown field."""
    tree: dict[str, dict[str, Any]] = msgspec.to_builtins(config)
    for name, text in settings.items():
        section, _, field = name.partition(".")
        if field not in _SECTIONS.get(section, ()):
            raise InvalidInput(f"there is no setting {name!r}", remedy="write section.field=value, such as router.enabled=no")
        tree[section][field] = _from_text(name, field, text)
    try:
        found = msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{', '.join(f'{name}={text}' for name, text in settings.items())}: {error}") from error
    _complete(found, {}, 0)
    return found


def _read(path: str) -> dict[str, dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise InvalidInput(f"cannot read configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"configuration {path} is not valid TOML: {error}") from error


def _check_lists(tree: Mapping[str, Any], path: str | None) -> None:
    """Raises InvalidInput where a text stands in place of a list, with the list to write."""
    for section, fields in tree.items():
        for field, value in fields.items() if isinstance(fields, dict) else ():
            if field in LISTS and isinstance(value, str):
                rule = f"[{section}] {field} is a list, and {value!r} is a text"
                raise InvalidInput(f"configuration {path}: {rule}", remedy=f"write {field} = [{json.dumps(value)}]")


def _from_text(name: str, field: str, value: str) -> Any:
    if field in LISTS:
        return [part.strip() for part in value.split(",") if part.strip()]
    if field in ("metadata", "environment"):
        return parse_metadata(value, name)
    return value


def parse_metadata(text: str, where: str) -> dict[str, str]:
    """`k=v,k=v` as fleetd reads it (the last of a repeated key wins). Raises InvalidInput."""
    metadata = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise InvalidInput(f"{where}: {pair!r} is not metadata", remedy="write key=value,key=value")
        metadata[key.strip()] = value.strip()
    return metadata


def _complete(config: Config, environ: Mapping[str, str], uid: int) -> Config:
    state, run = default_dirs(environ, uid)
    replace = msgspec.structs.replace
    paths = PathsSection(os.path.abspath(config.paths.state or state), os.path.abspath(config.paths.run or run))
    store = config.store if config.store.url else replace(config.store, url=f"sqlite:{paths.state}/store.sqlite")
    api = config.api if config.api.socket else replace(config.api, socket=f"{paths.run}/argosy.sock")
    if config.machine.ttl < 1:
        raise InvalidInput(f"[machine] ttl is {config.machine.ttl}", remedy="give at least 1 second")
    if config.runtime.kind not in ("auto", "systemd", "systemd-user", "supervisor"):
        raise InvalidInput(f"[runtime] kind is {config.runtime.kind!r}", remedy="auto, systemd, systemd-user or supervisor")
    if config.runtime.containers not in ("auto", "docker", "podman"):
        raise InvalidInput(f"[runtime] containers is {config.runtime.containers!r}", remedy="auto, docker or podman")
    if config.store.quota < SMALLEST_QUOTA:
        raise InvalidInput(f"[store] quota is {config.store.quota}", remedy=f"give bytes, {SMALLEST_QUOTA} at least")
    if config.keys.largest < 1 or config.keys.most < 0 or config.keys.most_below < 0:
        raise InvalidInput("[keys] largest, most or most_below is too small", remedy="give bytes: largest 1 or more, the others 0 or more")
    if config.engine.strategy not in ("spread", "binpack", "random"):
        raise InvalidInput(f"[engine] strategy is {config.engine.strategy!r}", remedy="spread, binpack or random")
    if config.router.enabled not in ("auto", "yes", "no"):
        raise InvalidInput(f"[router] enabled is {config.router.enabled!r}", remedy="auto, yes or no")
    if config.images.challenge not in ("", "basic", "bearer"):
        raise InvalidInput(f"[images] challenge is {config.images.challenge!r}", remedy="basic or bearer")
    if not store.url.startswith(("sqlite:", "etcd:")):
        raise InvalidInput(f"[store] url is {store.url!r}", remedy="sqlite:PATH or etcd:HOST:PORT,HOST:PORT")
    images = config.images if config.images.storage else replace(config.images, storage=f"file://{quote(paths.state)}/images")
    return replace(config, paths=paths, store=store, api=api, images=images)


_SECTIONS = {
    section.name: tuple(field.name for field in msgspec.structs.fields(section.type)) for section in msgspec.structs.fields(Config)
}
