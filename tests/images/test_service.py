"""The registry as a service: where it may listen, who may come in, with which certificate, and what happens while its store is away."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from functools import partial
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from argosy.config import ImagesSection, TlsSection
from argosy.errors import InvalidInput, Unsuitable
from argosy.images import service
from argosy.images.opening import open_storage
from argosy.images.passwords import FREE_FAILURES, LONGEST_DELAY
from argosy.images.service import Door, collecting, doors, serving
from argosy.services import Service, Services
from argosy.trust.authority import create_authority, issue
from tests.conftest import FakeClock
from tests.images import clouds
from tests.web.clients import STRANGER, curl_as

PLAIN = TlsSection()
CLUSTER = TlsSection(ca="ca.pem", cert="cert.pem", key="key.pem")


@pytest.mark.parametrize(
    ("section", "tls", "found"),
    [
        (ImagesSection(), PLAIN, [Door("127.0.0.1", 5000, False)]),
        (ImagesSection(), CLUSTER, [Door("127.0.0.1", 5000, False)]),  # dockerd asks localhost in the clear
        (ImagesSection(listen=("[::1]:5001",)), PLAIN, [Door("::1", 5001, False)]),
        (ImagesSection(listen=("127.0.0.1:5000",), cert="c", key="k"), PLAIN, [Door("127.0.0.1", 5000, True)]),
        (
            ImagesSection(listen=("127.0.0.1:5000", "192.0.2.1:5000"), htpasswd="h"),
            CLUSTER,
            [Door("127.0.0.1", 5000, False), Door("192.0.2.1", 5000, True)],
        ),
        (ImagesSection(listen=("172.17.0.1:5000",), allow_anyone=True, allow_plain=True), PLAIN, [Door("172.17.0.1", 5000, False)]),
    ],
)
def test_where_it_listens_and_how(section: ImagesSection, tls: TlsSection, found: list[Door]) -> None:
    assert list(doors(section, tls)) == found


@pytest.mark.parametrize(
    ("section", "remedy"),
    [
        (ImagesSection(listen=("0.0.0.0:5000",)), "--htpasswd"),
        (ImagesSection(listen=("0.0.0.0:5000",), htpasswd="h"), "--cert"),
        (ImagesSection(listen=("0.0.0.0:5000",), allow_plain=True), "--allow-anyone"),
        (ImagesSection(listen=("5000",)), "HOST:PORT"),
        (ImagesSection(listen=("127.0.0.1:99999",)), "HOST:PORT"),
        (ImagesSection(listen=()), "give it an address"),
    ],
)
def test_where_it_may_not_listen(section: ImagesSection, remedy: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        doors(section, PLAIN)
    assert remedy in caught.value.remedy


def on_free_port(folder: Path, **more: object) -> ImagesSection:
    given = {"listen": ("127.0.0.1:0",), "storage": f"file://{folder}/images", **more}
    return ImagesSection(**given)  # type: ignore[arg-type]


async def asked(url: str, **more: object) -> tuple[int, str]:
    """Status and the challenge of GET /v2/."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/v2/", **more) as response:  # type: ignore[arg-type]
        return response.status, response.headers.get("WWW-Authenticate", "")


async def test_it_serves_and_says_what(tmp_path: Path, clock: FakeClock) -> None:
    async with serving(on_free_port(tmp_path), PLAIN, clock) as made:
        url = made.doors[0].url
        assert made.said == (
            f"serving file://{tmp_path}/images on {url}",
            f"root, user {os.geteuid()} and members of group argosy may push, everybody on this machine may pull",
        )
        assert await asked(url) == (200, "")
    with pytest.raises(aiohttp.ClientConnectionError):
        await asked(url)


def written(path: Path, text: str | bytes) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def users(folder: Path) -> str:
    return written(folder / "htpasswd", f"alice:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")


@pytest.mark.parametrize(
    ("rules", "challenge", "asks"),
    [
        ("", "", "Basic"),
        ("alice push **", "", "Basic"),
        ("anonymous pull **", "", "Bearer"),  # docker sends nothing at all when asked for a password that it does not have
        ("", "bearer", "Bearer"),
        ("anonymous pull **", "basic", "Basic"),
    ],
)
async def test_clients_are_asked_for_what_they_can_give(tmp_path: Path, clock: FakeClock, rules: str, challenge: str, asks: str) -> None:
    file = await asyncio.to_thread(written, tmp_path / "rules", rules) if rules else ""
    section = on_free_port(tmp_path, htpasswd=await asyncio.to_thread(users, tmp_path), rules=file, challenge=challenge)
    async with serving(section, PLAIN, clock) as made:
        status, told = await asked(made.doors[0].url)
        assert (status, told.split(" ")[0]) == (401, asks)


async def test_it_serves_tls_with_the_certificate_that_it_is_given(tmp_path: Path, clock: FakeClock) -> None:
    def issued() -> tuple[str, str, str]:
        authority = create_authority("test", time.time())
        pair = issue(authority, "aa" * 16, time.time(), addresses=["127.0.0.1"])
        files = {"ca": authority.cert, "cert": pair.cert, "key": pair.key}
        ca, cert, key = (written(tmp_path / name, content) for name, content in files.items())
        return ca, cert, key

    ca, cert, key = await asyncio.to_thread(issued)
    async with serving(on_free_port(tmp_path, cert=cert, key=key), PLAIN, clock) as made:
        url = made.doors[0].url
        assert url.startswith("https://")
        assert (await asked(url, ssl=ssl.create_default_context(cafile=ca)))[0] == 200


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"htpasswd": "/nowhere"}, "/nowhere"),
        ({"rules": "/nowhere"}, "there are rules and no users"),
        ({"token_key": "/nowhere"}, "/nowhere"),
        ({"cert": "/nowhere"}, "/nowhere"),
        ({"storage": "ftp://x"}, "ftp"),
        ({"mirror": "nothing"}, "no registry"),
        ({"mirror": "http://x", "mirror_credentials": "/nowhere"}, "/nowhere"),
    ],
)
async def test_a_configuration_that_cannot_be_served_is_refused_before_anything_listens(
    tmp_path: Path, clock: FakeClock, more: dict[str, str], named: str
) -> None:
    with pytest.raises(InvalidInput, match=named):
        async with serving(on_free_port(tmp_path, **more), PLAIN, clock):
            pass


async def test_an_address_that_is_taken_is_told(tmp_path: Path, clock: FakeClock) -> None:
    async with serving(on_free_port(tmp_path), PLAIN, clock) as made:
        section = on_free_port(tmp_path, listen=(f"127.0.0.1:{made.doors[0].port}",))
        with pytest.raises(Unsuitable, match="Address already in use"):
            async with serving(section, PLAIN, clock):
                pass


async def test_a_mirror_is_read_only_and_says_of_what(tmp_path: Path, clock: FakeClock) -> None:
    async with serving(on_free_port(tmp_path, mirror="http://127.0.0.1:9"), PLAIN, clock) as made:
        assert made.said[1:] == ("it is a mirror: nothing is pushed here", "what is not here comes from http://127.0.0.1:9")
        async with aiohttp.ClientSession() as session, session.post(f"{made.doors[0].url}/v2/x/blobs/uploads/") as response:
            assert response.status == 405


class Napping(FakeClock):
    """Says when somebody sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await super().sleep(seconds)


@pytest.mark.parametrize("wrong", ["away", "taken"])
async def test_in_the_agent_what_may_become_good_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str) -> None:
    clock = Napping()
    environment = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    async with serving(on_free_port(tmp_path), PLAIN, clock) as made:
        taken = on_free_port(tmp_path, listen=(f"127.0.0.1:{made.doors[0].port}",))
        away = on_free_port(tmp_path, storage=f"s3://images?endpoint=http://127.0.0.1:{clouds.free_port()}")
        run = partial(service.run, taken if wrong == "taken" else away, PLAIN, clock, environment)
        task = asyncio.create_task(Services({"images": Service(run, fatal=(InvalidInput,))}, clock, lambda name, text: None).run())
        async with asyncio.timeout(50):
            await clock.asleep.wait()
    assert ("already in use" if wrong == "taken" else "cannot be reached") in caplog.text
    assert "starting it again in 0.5 s" in caplog.text
    assert "Traceback" not in caplog.text
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_in_the_agent_what_is_wrong_with_the_configuration_is_raised(tmp_path: Path, clock: FakeClock) -> None:
    with pytest.raises(InvalidInput):
        await service.run(on_free_port(tmp_path, storage="ftp://x"), PLAIN, clock)


async def test_garbage_is_collected_as_often_as_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Napping()
    caplog.set_level("INFO")
    storage = await open_storage(f"file://{tmp_path}/images", {})
    await collecting(storage, ImagesSection(collect=0), clock)  # never
    assert await storage.stat("collected") is None
    task = asyncio.create_task(collecting(storage, ImagesSection(collect=1), clock))
    async with asyncio.timeout(10):
        await clock.asleep.wait()
    assert await storage.stat("collected") is not None
    assert "garbage collection: 0 untagged manifests and 0 blobs removed" in caplog.text
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await storage.close()


async def statuses(url: str, uid: int, *options: str) -> dict[str, int]:
    """What a user of this machine gets: for reading, and for each way to change something."""
    asked = {"read": (), "begin": ("-X", "POST"), "put": ("-X", "PUT", "-d", "{}"), "delete": ("-X", "DELETE")}
    paths = {"read": "/v2/", "begin": "/v2/a/blobs/uploads/", "put": "/v2/a/manifests/1", "delete": "/v2/a/manifests/1"}
    return {what: (await curl_as(uid, *more, *options, url + paths[what]))[0] for what, more in asked.items()}


OTHERS: list[tuple[str, int, dict[str, object], dict[str, int]]] = [
    ("root", 0, {}, {"read": 200, "begin": 202, "put": 400, "delete": 404}),
    ("a member of the group", 1, {"group": "daemon"}, {"read": 200, "begin": 202, "put": 400, "delete": 404}),
    ("another user only pulls", STRANGER, {}, {"read": 200, "begin": 403, "put": 403, "delete": 403}),
    ("whom the operator lets in", STRANGER, {"allow_anyone": True}, {"read": 200, "begin": 202, "put": 400, "delete": 404}),
]


@pytest.mark.parametrize(("_why", "uid", "more", "found"), OTHERS, ids=[row[0] for row in OTHERS])
async def test_who_pushes_to_a_registry_without_users(
    tmp_path: Path, clock: FakeClock, _why: str, uid: int, more: dict[str, object], found: dict[str, int]
) -> None:
    async with serving(on_free_port(tmp_path, **more), PLAIN, clock) as made:
        assert await statuses(made.doors[0].url, uid) == found


async def test_who_has_a_password_needs_no_group(tmp_path: Path, clock: FakeClock) -> None:
    async with serving(on_free_port(tmp_path, htpasswd=await asyncio.to_thread(users, tmp_path)), PLAIN, clock) as made:
        assert (await statuses(made.doors[0].url, STRANGER, "-u", "alice:secret"))["begin"] == 202
        assert (await statuses(made.doors[0].url, STRANGER))["begin"] == 401


async def test_the_refusal_says_who_may(tmp_path: Path, clock: FakeClock) -> None:
    async with serving(on_free_port(tmp_path), PLAIN, clock) as made:
        _, said = await curl_as(STRANGER, "-X", "POST", f"{made.doors[0].url}/v2/a/blobs/uploads/")
    assert "DENIED" in said
    assert f"root, user {os.geteuid()} and members of group argosy may; or let users log in (--htpasswd)" in said


@pytest.mark.parametrize("anyone", [False, True])
async def test_what_a_router_was_made_to_pass_on_is_refused(tmp_path: Path, clock: FakeClock, anyone: bool) -> None:
    passed_on = {"Host": "reg", "X-Forwarded-For": "10.0.0.9", "X-Real-IP": "10.0.0.9"}
    async with serving(on_free_port(tmp_path, allow_anyone=anyone), PLAIN, clock) as made, aiohttp.ClientSession() as session:
        for method, path in (("GET", "/v2/"), ("POST", "/v2/a/blobs/uploads/"), ("GET", "/token")):
            async with session.request(method, made.doors[0].url + path, headers=passed_on) as answer:
                assert answer.status == 403
                assert "argosy registry --trusted 127.0.0.1" in await answer.text()


async def test_a_registry_behind_a_proxy_that_is_named_sends_clients_to_where_they_came_from(tmp_path: Path, clock: FakeClock) -> None:
    section = on_free_port(tmp_path, htpasswd=await asyncio.to_thread(users, tmp_path), challenge="bearer", trusted=("127.0.0.1",))
    async with serving(section, PLAIN, clock) as made:
        proxied = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "reg.example"}
        status, challenge = await asked(made.doors[0].url, headers=proxied)
        assert status == 401
        assert 'realm="https://reg.example/token"' in challenge
        assert f'realm="{made.doors[0].url}/token"' in (await asked(made.doors[0].url))[1]


async def test_wrong_passwords_through_a_proxy_count_against_their_sender(tmp_path: Path, clock: FakeClock) -> None:
    section = on_free_port(tmp_path, htpasswd=await asyncio.to_thread(users, tmp_path), trusted=("127.0.0.1",))
    wrong, right = (aiohttp.encode_basic_auth("alice", password) for password in ("wrong", "secret"))
    offender = {"X-Forwarded-For": "203.0.113.5", "Authorization": wrong}
    other = {"X-Forwarded-For": "203.0.113.6", "Authorization": right}
    async with serving(section, PLAIN, clock) as made:
        for _ in range(FREE_FAILURES):
            assert (await asked(made.doors[0].url, headers=offender))[0] == 401
        delayed = asyncio.create_task(asked(made.doors[0].url, headers=offender))
        assert (await asked(made.doors[0].url, headers=other))[0] == 200
        assert not delayed.done()
        while not delayed.done():
            await clock.advance(LONGEST_DELAY)
        assert (await delayed)[0] == 401


async def test_a_name_by_which_clients_reach_an_open_registry_can_be_allowed(tmp_path: Path, clock: FakeClock) -> None:
    for hosts, status in (((), 403), (("reg.example",), 200)):
        async with (
            serving(on_free_port(tmp_path, hosts=hosts), PLAIN, clock) as made,
            aiohttp.ClientSession() as session,
            session.get(f"{made.doors[0].url}/v2/", headers={"Host": "reg.example"}) as answer,
        ):
            assert answer.status == status
            assert hosts or "argosy registry --host reg.example" in await answer.text()
