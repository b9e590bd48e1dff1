"""TLS on real engines: certificates in a folder, nginx, backends, and clients that name the host they want."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import time
import warnings
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509

from argosy.config import RouterSection
from argosy.errors import InvalidInput
from argosy.model import Entry
from argosy.reconcile import SystemClock
from argosy.router.feed import StoreFeed
from argosy.router.loop import Router, settings_of
from argosy.router.nginx import Nginx
from argosy.router.opening import open_router
from argosy.state import keys
from argosy.state.cache import Cache
from argosy.state.records import encode
from argosy.store.base import Put
from argosy.store.sqlite import SqliteStore
from argosy.trust.authority import create_authority, issue_web
from tests.router.tls.certs import DAY, Made, make, put
from tests.router.web import Answer, ask, backend, free_port, needs_nginx, nginx, until, until_async

pytestmark = needs_nginx


class Site:
    """A router with TLS, and what its tests do to it."""

    def __init__(self, store: SqliteStore, router: Router, proxy: Nginx, folder: Path, ports: tuple[int, int]) -> None:
        self.store = store
        self.router = router
        self.proxy = proxy
        self.folder = folder
        self.http, self.https = ports

    async def announce(self, **values: str) -> None:
        await self.store.commit([], [Put(f"{keys.WEB}{app}/1", encode(Entry(value, ttl=60))) for app, value in values.items()])
        await until(lambda: set(values) <= {up.app for up in self.router.served.upstreams}, f"{values} are served")

    def put(self, name: str, pair: Made) -> None:
        put(self.folder, name, pair.cert, pair.key)

    async def shows(self, host: str, name: str) -> None:
        """Until clients of that host see a certificate with that name."""

        async def seen() -> bool:
            with suppress(OSError):
                return name in await self.names(host)
            return False

        await until_async(seen, f"{host} is shown a certificate of {name}")

    async def names(self, host: str) -> list[str]:
        """The names in the certificate that a client of that host is shown."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.https, ssl=careless(), server_hostname=host)
        try:
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.close()
        return names_in(x509.load_der_x509_certificate(shown))

    async def ask(self, host: str, path: str = "/", headers: str = "", context: ssl.SSLContext | None = None) -> Answer:
        """One request over TLS on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.https, ssl=context or careless(), server_hostname=host)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            return Answer(
                int(first.split()[1]), {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}, body.decode()
            )
        finally:
            writer.close()


def names_in(certificate: x509.Certificate) -> list[str]:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


def careless() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def site(place: Path, *, domain: str = "example.org", redirect: bool = False, hsts: int = 0, **pairs: Made) -> AsyncIterator[Site]:
    clock, ports = SystemClock(), (free_port(), free_port())
    folder = place / "operator"
    folder.mkdir()
    for name, pair in pairs.items():
        put(folder, name, pair.cert, pair.key)
    section = RouterSection(
        listen=(f"127.0.0.1:{ports[0]}",),
        tls_listen=(f"127.0.0.1:{ports[1]}",),
        certificates=str(folder),
        domain=domain,
        redirect=redirect,
        hsts=hsts,
    )
    async with SqliteStore(":memory:", clock) as store, nginx(place / "nginx") as proxy:
        router = open_router(section, place / "nginx", proxy, StoreFeed(Cache(store, clock)), "a" * 32, clock)
        task = asyncio.create_task(router.run())
        await until(lambda: bool(proxy.active) or task.done(), "nginx runs")
        try:
            yield Site(store, router, proxy, folder, ports)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def pair(*names: str) -> Made:
    return make(names, time.time())


async def test_each_host_is_shown_its_own_certificate(tmp_path: Path) -> None:
    async with site(tmp_path, a=pair("*.example.org"), b=pair("shop.example.org"), c=pair("else.net")) as here, backend("one") as one:
        await here.announce(hello=one.address, shop=one.address)
        assert await here.names("hello.example.org") == ["*.example.org"]
        assert await here.names("shop.example.org") == ["shop.example.org"]
        assert await here.names("unknown.com") == ["*.example.org"]
        assert (await here.ask("shop.example.org")).body == "one"
        assert (await ask(here.http, "shop.example.org")).body == "one"
        assert [found.name for found in here.router.served.certificates] == ["a", "b", "c"]
        assert here.router.report.tls_listen == (f"127.0.0.1:{here.https}",)
        assert (await here.ask("127.0.0.1", "/_argosy/health")).body == "ok\n"


async def test_without_a_domain_every_domain_has_its_own(tmp_path: Path) -> None:
    async with site(tmp_path, domain="", a=pair("*.example.org"), b=pair("*.example.net")) as here, backend("one") as one:
        await here.announce(hello=one.address)
        for domain in ("example.org", "example.net"):
            assert await here.names(f"hello.{domain}") == [f"*.{domain}"]
            assert (await here.ask(f"hello.{domain}")).body == "one"
        assert (await here.ask("hello.anything.com")).body == "one"


async def test_a_certificate_of_the_clusters_own_authority_is_trusted_by_whoever_has_it(tmp_path: Path) -> None:
    authority = create_authority("test", time.time())
    web = issue_web(authority, ["*.example.org"], time.time())
    async with site(tmp_path, a=Made(web.cert, web.key)) as here, backend("one") as one:
        await here.announce(hello=one.address)
        strict = ssl.create_default_context(cadata=authority.cert.decode())
        assert (await here.ask("hello.example.org", context=strict)).body == "one"
        with pytest.raises(ssl.SSLCertVerificationError):
            await here.ask("hello.example.com", context=strict)


async def test_a_backend_hears_that_its_client_came_by_tls(tmp_path: Path) -> None:
    async with site(tmp_path, a=pair("*.example.org")) as here, backend("one") as one:
        await here.announce(hello=one.address)
        secure = (await here.ask("hello.example.org", "/echo", "X-Forwarded-Proto: http\r\n")).body.lower()
        plain = (await ask(here.http, "hello.example.org", "/echo", headers="X-Forwarded-Proto: https\r\n")).body.lower()
        assert "x-forwarded-proto: https" in secure
        assert "x-forwarded-proto: http\r" in plain
        assert "x-forwarded-for: 127.0.0.1" in secure
        assert "host: hello.example.org\r" in secure


async def test_websockets_work_over_tls(tmp_path: Path) -> None:
    async with site(tmp_path, a=pair("*.example.org")) as here, backend("one") as one:
        await here.announce(hello=one.address)
        host = "hello.example.org"
        reader, writer = await asyncio.open_connection("127.0.0.1", here.https, ssl=careless(), server_hostname=host)
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode())
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        for word in (b"hello", b"again"):
            writer.write(word)
            assert await asyncio.wait_for(reader.readexactly(5), 5) == word
        writer.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_http_2_is_spoken_over_tls(tmp_path: Path) -> None:
    async with site(tmp_path, a=pair("*.example.org")) as here, backend("one") as one:
        await here.announce(hello=one.address)
        url = f"https://hello.example.org:{here.https}/echo"
        command = ("curl", "-sSk", "--http2", "--resolve", f"hello.example.org:{here.https}:127.0.0.1", "-w", "\n%{http_version}", url)
        child = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        said, _ = await child.communicate()
        body, _, version = said.decode().rpartition("\n")
        assert version == "2"
        assert f"host: hello.example.org:{here.https}" in body.lower()


async def test_only_modern_protocols_are_spoken(tmp_path: Path) -> None:
    async with site(tmp_path, a=pair("*.example.org")) as here:
        spoken = {}
        for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = careless()
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
                context.maximum_version = version
                context.minimum_version = version
            try:
                answer = await here.ask("x.example.org", "/_argosy/health", context=context)
                spoken[version.name] = answer.status == 200
            except (OSError, ssl.SSLError):
                spoken[version.name] = False
        assert spoken == {"TLSv1_1": False, "TLSv1_2": True, "TLSv1_3": True}


async def test_http_is_sent_to_https_where_the_operator_wants_it(tmp_path: Path) -> None:
    async with site(tmp_path, redirect=True, hsts=300, a=pair("*.example.org")) as here, backend("one") as one:
        await here.announce(hello=one.address)
        moved = await ask(here.http, "hello.example.org", "/a?b=c")
        assert (moved.status, moved.headers["location"]) == (308, f"https://hello.example.org:{here.https}/a?b=c")
        assert "strict-transport-security" not in moved.headers
        answer = await here.ask("hello.example.org")
        assert (answer.body, answer.headers["strict-transport-security"]) == ("one", "max-age=300")
        assert (await ask(here.http, "anything", "/_argosy/health")).body == "ok\n"


async def test_nothing_is_redirected_and_browsers_are_told_nothing_by_default(tmp_path: Path) -> None:
    async with site(tmp_path, a=pair("*.example.org")) as here, backend("one") as one:
        await here.announce(hello=one.address)
        assert (await ask(here.http, "hello.example.org")).body == "one"
        assert "strict-transport-security" not in (await here.ask("hello.example.org")).headers


async def test_without_a_certificate_tls_is_refused_http_goes_on_and_one_that_comes_is_taken_up(tmp_path: Path) -> None:
    async with site(tmp_path, redirect=True, a=make(["*.example.org"], time.time(), end=-1.0)) as here, backend("one") as one:
        await here.announce(hello=one.address)
        with pytest.raises(ssl.SSLError):
            await here.ask("hello.example.org")
        assert (await ask(here.http, "hello.example.org")).body == "one"
        assert "expired" in here.router.served.complaints[0]
        assert here.router.report.tls_listen == ()
        here.put("a", pair("*.example.org"))
        await here.shows("hello.example.org", "*.example.org")
        assert (await here.ask("hello.example.org")).body == "one"
        await until(lambda: not here.router.served.complaints, "nothing is complained of")


async def test_a_bad_pair_never_breaks_what_is_served(tmp_path: Path) -> None:
    good = pair("*.example.org")
    async with site(tmp_path, a=good) as here, backend("one") as one:
        await here.announce(hello=one.address)
        for bad in (Made(pair("*.example.org").cert, good.key), make(["*.example.org"], time.time(), end=-DAY / 2)):
            before = here.router.served.complaints
            here.put("a", bad)
            await until(lambda before=before: here.router.served.complaints not in ((), before), "it is complained of")  # type: ignore[misc]
            await here.announce(**{f"app{len(before)}": one.address})
            assert (await here.ask("hello.example.org")).body == "one"
        os.kill(here.proxy.pid, signal.SIGKILL)
        await here.shows("hello.example.org", "*.example.org")
        here.put("a", pair("*.example.org", "renewed.net"))
        await here.shows("hello.example.org", "renewed.net")


async def test_no_request_fails_while_certificates_change(tmp_path: Path) -> None:
    async with site(tmp_path, a=pair("*.example.org")) as here, backend("one") as one:
        await here.announce(hello=one.address)
        counted = {"answered": 0, "failed": 0}
        enough = asyncio.Event()

        async def client() -> None:
            while not enough.is_set():
                try:
                    good = (await here.ask("hello.example.org")).body == "one"
                except (OSError, EOFError, IndexError):
                    good = False
                counted["answered" if good else "failed"] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(client())
            for number in range(3):
                here.put("a", pair("*.example.org", f"renewed{number}.net"))
                await here.shows("hello.example.org", f"renewed{number}.net")
            enough.set()
        assert counted["failed"] == 0
        assert counted["answered"] > 50
        await until(lambda: len(list((tmp_path / "nginx" / "tls").glob("*.crt"))) == 1, "the ones before are tidied away")


SETTINGS: list[tuple[RouterSection, str]] = [
    (RouterSection(tls_listen=("0.0.0.0:8443",)), "tls_listen needs certificates"),
    (RouterSection(redirect=True), "need https"),
    (RouterSection(hsts=5), "need https"),
    (RouterSection(certificates="/x", hsts=-1), "hsts is -1"),
    (RouterSection(certificates="/x", tls_listen=("0.0.0.0:80",)), "both have"),
    (RouterSection(certificates="/x", tls_listen=("everywhere",)), "no address"),
]


@pytest.mark.parametrize(("section", "named"), SETTINGS, ids=[row[1] for row in SETTINGS])
def test_settings_that_break_a_rule(section: RouterSection, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        settings_of(section)


def test_tls_is_served_where_there_are_certificates() -> None:
    assert settings_of(RouterSection()).tls_listen == ()
    assert settings_of(RouterSection(certificates="/x")).tls_listen == ("0.0.0.0:443",)
    assert settings_of(RouterSection(certificates="/x")).https == ""
    assert settings_of(RouterSection(certificates="/x", tls_listen=("[::]:8443",))).https == ":8443"
