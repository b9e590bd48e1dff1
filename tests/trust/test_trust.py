"""Mutual TLS: whoever has a certificate of the cluster's authority gets in, nobody else does."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from argosy.cli.main import cli
from argosy.errors import InvalidInput
from argosy.trust import contexts
from argosy.trust.authority import Pair, create_authority, issue, issue_web, machine_name

DAY = 86400.0
SERVER_ID = "aa" * 16
CLIENT_ID = "bb" * 16


def written(folder: Path, name: str, authority: Pair, pair: Pair) -> tuple[str, str, str]:
    files = {"ca": authority.cert, "cert": pair.cert, "key": pair.key}
    paths = []
    for kind, content in files.items():
        path = folder / f"{name}.{kind}.pem"
        path.write_bytes(content)
        paths.append(str(path))
    return paths[0], paths[1], paths[2]


async def greeting(server: tuple[str, str, str], client: tuple[str, str, str] | None, host: str) -> bytes:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"welcome")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except (OSError, ConnectionError):
            pass

    listener = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=contexts.server(*server))
    port = listener.sockets[0].getsockname()[1]
    context = ssl.create_default_context(cafile=server[0]) if client is None else contexts.client(*client)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
        try:
            return await reader.read()
        finally:
            writer.close()
    except OSError:
        return b"refused"
    finally:
        listener.close()


@pytest.fixture
def cluster(tmp_path: Path) -> tuple[Pair, tuple[str, str, str]]:
    authority = create_authority("test", time.time())
    return authority, written(tmp_path, "server", authority, issue(authority, SERVER_ID, time.time()))


async def test_a_machine_of_the_cluster_is_let_in(tmp_path: Path, cluster: tuple[Pair, tuple[str, str, str]]) -> None:
    authority, server = cluster
    client = written(tmp_path, "client", authority, issue(authority, CLIENT_ID, time.time()))
    assert await greeting(server, client, machine_name(SERVER_ID)) == b"welcome"


async def test_a_server_of_another_name_is_not_trusted(tmp_path: Path, cluster: tuple[Pair, tuple[str, str, str]]) -> None:
    authority, server = cluster
    client = written(tmp_path, "client", authority, issue(authority, CLIENT_ID, time.time()))
    assert await greeting(server, client, machine_name("cc" * 16)) == b"refused"


async def test_a_certificate_of_another_authority_is_refused(tmp_path: Path, cluster: tuple[Pair, tuple[str, str, str]]) -> None:
    authority, server = cluster
    stranger = create_authority("test", time.time())
    client = written(tmp_path, "client", authority, issue(stranger, CLIENT_ID, time.time()))
    assert await greeting(server, client, machine_name(SERVER_ID)) in (b"refused", b"")


async def test_an_expired_certificate_is_refused(tmp_path: Path, cluster: tuple[Pair, tuple[str, str, str]]) -> None:
    authority, server = cluster
    client = written(tmp_path, "client", authority, issue(authority, CLIENT_ID, time.time() - 10 * DAY, days=5))
    assert await greeting(server, client, machine_name(SERVER_ID)) in (b"refused", b"")


async def test_no_certificate_is_refused(cluster: tuple[Pair, tuple[str, str, str]]) -> None:
    assert await greeting(cluster[1], None, machine_name(SERVER_ID)) in (b"refused", b"")


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 80, "a\n"])
def test_what_is_no_name_gets_no_certificate(name: str) -> None:
    with pytest.raises(InvalidInput):
        issue(create_authority("test", time.time()), name, time.time())


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.pem"):
        contexts.server(str(tmp_path / "nowhere.pem"), "c", "k")


def names_in(pair: Pair) -> list[str]:
    names = x509.load_pem_x509_certificate(pair.cert).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


async def test_a_web_certificate_is_good_for_its_names_and_no_other(tmp_path: Path, cluster: tuple[Pair, tuple[str, str, str]]) -> None:
    authority, _ = cluster
    web = issue_web(authority, ["*.Example.org", "example.org", "192.0.2.1"], time.time())
    assert names_in(web) == ["*.example.org", "example.org", "192.0.2.1"]
    ca, cert, key = written(tmp_path, "web", authority, web)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    browser = ssl.create_default_context(cafile=ca)
    answers = {}
    for host in ("shop.example.org", "example.org", "192.0.2.1", "a.b.example.org", "example.com", machine_name(SERVER_ID)):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=browser, server_hostname=host)
        except ssl.SSLCertVerificationError:
            answers[host] = False
        else:
            answers[host] = True
            writer.close()
    listener.close()
    assert [host for host, good in answers.items() if good] == ["shop.example.org", "example.org", "192.0.2.1"]


async def test_a_web_certificate_is_no_way_into_a_machines_door(tmp_path: Path, cluster: tuple[Pair, tuple[str, str, str]]) -> None:
    authority, server = cluster
    client = written(tmp_path, "web", authority, issue_web(authority, ["example.org"], time.time()))
    assert await greeting(server, client, machine_name(SERVER_ID)) in (b"refused", b"")


@pytest.mark.parametrize(
    ("names", "named"),
    [
        ([], "at least one name"),
        (["*"], "no host name"),
        (["*.*.org"], "no host name"),
        (["a.*.org"], "no host name"),
        (["../x"], "no host name"),
        (["a b"], "no host name"),
        (["-a.org"], "no host name"),
        ([f"{'a.' * 127}org"], "no host name"),
        (["x.argosy"], "among themselves"),
        (["*.argosy"], "among themselves"),
        (["ARGOSY"], "among themselves"),
        (["good.org", "etcd.argosy"], "among themselves"),
    ],
)
def test_names_that_no_web_certificate_may_carry(names: list[str], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        issue_web(create_authority("test", time.time()), names, time.time())


def test_the_verb_writes_a_pair_that_routers_take(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(cli, ["ca", "init", str(tmp_path / "ca")]).exit_code == 0
    told = run(cli, ["ca", "issue-web", "*.example.org", "example.org", "--folder", str(tmp_path / "ca"), "--into", str(tmp_path / "web")])
    assert told.exit_code == 0, told.output
    files = sorted(path.name for path in (tmp_path / "web").iterdir())
    assert files == ["wildcard.example.org.crt", "wildcard.example.org.key"]
    assert (tmp_path / "web" / files[1]).stat().st_mode & 0o777 == 0o600
    refused = run(cli, ["ca", "issue-web", "x.argosy", "--folder", str(tmp_path / "ca")])
    assert isinstance(refused.exception, SystemExit)
    assert "among themselves" in refused.output
