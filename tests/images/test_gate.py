"""Who comes in: over HTTP, with passwords and tokens, as clients do it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import bcrypt
import pytest
from obstore.store import MemoryStore

from argosy.images.access import ALL_TO_ANYONE, ALL_TO_USERS, Need, Rules, parse_rules
from argosy.images.gate import Gate
from argosy.images.http import registry_api
from argosy.images.objects import Objects
from argosy.images.passwords import Passwords
from argosy.images.registry import Registry
from argosy.images.tokens import SHORT_SECONDS, Tokens, make_key
from tests.conftest import FakeClock
from tests.images.house import Answer, Client, client_of_api

RULES = "alice delete **\nci push apps/*\nanonymous pull public/**\n"
USERS = {"alice": "secret", "ci": "robot", "bob": "nothing"}


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    path.write_text("".join(f"{user}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}\n" for user, word in USERS.items()))
    return path


@pytest.fixture
def passwords(htpasswd: Path, clock: FakeClock) -> Passwords:
    return Passwords(htpasswd, clock)


TOKENS = Tokens(make_key(), "argosy")


@asynccontextmanager
async def gated(
    clock: FakeClock, passwords: Passwords | None, rules: Rules, *, bearer: bool = False, read_only: bool = False
) -> AsyncIterator[Client]:
    gate = Gate(rules, TOKENS, clock, passwords=passwords, bearer=bearer, read_only=read_only)
    registry = Registry(Objects(MemoryStore(), "memory://"))
    api = registry_api(registry, routes=gate.routes(), middlewares=[gate.middleware], anonymous_mounts=passwords is None)
    async with client_of_api(registry, api) as client:
        yield client


def basic(user: str, password: str | None = None) -> str:
    return "Basic " + base64.b64encode(f"{user}:{USERS[user] if password is None else password}".encode()).decode()


async def token(client: Client, user: str, *scopes: str) -> str:
    """As a client does that has been told to fetch one."""
    query = urlencode([("service", "argosy"), *(("scope", scope) for scope in scopes)])
    answer = await client.ask("GET", f"/token?{query}", **({"Authorization": basic(user)} if user else {}))
    assert answer.status == 200
    assert answer.json["expires_in"] == SHORT_SECONDS
    assert answer.json["token"] == answer.json["access_token"]
    assert answer.headers["Cache-Control"] == "no-store"
    return f"Bearer {answer.json['token']}"


def challenge(answer: Answer) -> dict[str, str]:
    assert answer.told == (401, "UNAUTHORIZED")
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    scheme, _, rest = answer.headers["WWW-Authenticate"].partition(" ")
    return {"scheme": scheme, **dict(re.findall(r'(\w+)="([^"]*)"', rest))}


@pytest.mark.parametrize(
    ("user", "method", "path", "status"),
    [
        ("alice", "GET", "", 200),
        ("alice", "GET", "apps/web/tags/list", 404),
        ("alice", "GET", "_catalog", 200),
        ("alice", "DELETE", "apps/web/manifests/latest", 404),
        ("ci", "POST", "apps/web/blobs/uploads/", 202),
        ("ci", "GET", "apps/web/tags/list", 404),
        ("ci", "DELETE", "apps/web/manifests/latest", 403),
        ("ci", "POST", "base/blobs/uploads/", 403),
        ("ci", "GET", "_catalog", 403),
        ("ci", "GET", "public/x/manifests/latest", 404),
        ("bob", "GET", "apps/web/tags/list", 403),
        ("bob", "GET", "", 200),
        ("", "GET", "public/x/manifests/latest", 404),
        ("", "GET", "apps/web/manifests/latest", 401),
        ("", "POST", "public/x/blobs/uploads/", 401),
        ("", "GET", "", 401),
        ("", "GET", "_catalog", 401),
    ],
)
async def test_a_password_lets_in_as_far_as_the_rules_say(
    clock: FakeClock, passwords: Passwords, user: str, method: str, path: str, status: int
) -> None:
    async with gated(clock, passwords, parse_rules(RULES, "rules")) as client:
        answer = await client.ask(method, path, **({"Authorization": basic(user)} if user else {}))
    assert answer.status == status
    if status == 403:
        assert answer.told == (403, "DENIED")
    if status == 401:
        assert challenge(answer) == {"scheme": "Basic", "realm": "argosy"}


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic !!!",
        basic("alice", "wrong"),
        "Basic " + base64.b64encode(b"alice").decode(),
        "Digest x",
        "Bearer x",
        "",
        "Basic \xff",
    ],
)
async def test_what_is_no_password_is_asked_for_again(clock: FakeClock, passwords: Passwords, authorization: str) -> None:
    async with gated(clock, passwords, ALL_TO_USERS) as client:
        answer = await client.ask("GET", "apps/web/tags/list", Authorization=authorization)
    assert answer.told == (401, "UNAUTHORIZED")
    assert "WWW-Authenticate" in answer.headers


async def test_a_client_is_told_where_to_fetch_which_token_and_comes_in_with_it(clock: FakeClock, passwords: Passwords) -> None:
    async with gated(clock, passwords, parse_rules(RULES, "rules"), bearer=True) as client:
        told = challenge(await client.ask("POST", "apps/web/blobs/uploads/"))
        assert told == {
            "scheme": "Bearer",
            "realm": f"http://127.0.0.1:{client.port}/token",
            "service": "argosy",
            "scope": "repository:apps/web:pull,push",
        }
        authorization = await token(client, "ci", told["scope"])
        assert (await client.ask("POST", "apps/web/blobs/uploads/", Authorization=authorization)).status == 202
        assert (await client.ask("GET", "", Authorization=authorization)).status == 200
        told = challenge(await client.ask("GET", "apps/other/tags/list", Authorization=authorization))
        assert (told["scope"], told["error"]) == ("repository:apps/other:pull", "insufficient_scope")


async def test_a_token_grants_what_is_asked_for_and_allowed(clock: FakeClock, passwords: Passwords) -> None:
    async with gated(clock, passwords, parse_rules(RULES, "rules"), bearer=True) as client:
        asked = ("repository:apps/web:*", "repository:base:pull,push", "registry:catalog:*")
        claims = TOKENS.verify((await token(client, "ci", *asked)).removeprefix("Bearer "), clock.now())
        assert claims.sub == "ci"
        assert [(one.name, one.actions) for one in claims.access] == [("apps/web", ("pull", "push"))]
        claims = TOKENS.verify((await token(client, "alice", *asked)).removeprefix("Bearer "), clock.now())
        assert {one.name for one in claims.access} == {"apps/web", "base", "catalog"}
        anonymous = await token(client, "", "repository:public/x:pull,push", "repository:apps/web:pull")
        claims = TOKENS.verify(anonymous.removeprefix("Bearer "), clock.now())
        assert (claims.sub, [(one.name, one.actions) for one in claims.access]) == ("", [("public/x", ("pull",))])
        assert (await client.ask("GET", "public/x/manifests/1", Authorization=anonymous)).status == 404


async def test_a_token_ends(clock: FakeClock, passwords: Passwords) -> None:
    async with gated(clock, passwords, ALL_TO_USERS, bearer=True) as client:
        authorization = await token(client, "bob", "repository:x:pull")
        await clock.advance(SHORT_SECONDS + 1)
        told = challenge(await client.ask("GET", "x/tags/list", Authorization=authorization))
        assert told["error"] == "invalid_token"


async def test_tokens_issued_elsewhere_with_the_same_key_are_good(clock: FakeClock, passwords: Passwords) -> None:
    offline = TOKENS.issue("a job", [Need("repository", "x", "pull")], clock.now(), 3600)
    async with gated(clock, passwords, parse_rules("alice pull **", "rules")) as client:
        assert (await client.ask("GET", "x/tags/list", Authorization=f"Bearer {offline}")).status == 404
        assert (await client.ask("POST", "x/blobs/uploads/", Authorization=f"Bearer {offline}")).status == 401


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "password", "username": "ci", "password": "robot", "service": "argosy", "scope": "repository:apps/x:push"}, 200),
        ({"grant_type": "password", "username": "ci", "password": "wrong", "service": "argosy"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 400),
        ({"grant_type": "password", "username": "ci", "password": "robot", "service": "elsewhere"}, 400),
        ({"filler": "x" * 70_000}, 413),
        ({}, 400),
    ],
)
async def test_tokens_are_had_by_oauth_as_well(clock: FakeClock, passwords: Passwords, form: dict[str, str], status: int) -> None:
    async with gated(clock, passwords, parse_rules(RULES, "rules"), bearer=True) as client:
        answer = await client.ask("POST", "/token", urlencode(form).encode(), Content_Type="application/x-www-form-urlencoded")
        assert answer.status == status
        if status == 200:
            assert TOKENS.verify(answer.json["access_token"], clock.now()).allows(Need("repository", "apps/x", "push"))


async def test_a_token_is_not_had_with_a_wrong_password(clock: FakeClock, passwords: Passwords) -> None:
    async with gated(clock, passwords, ALL_TO_USERS, bearer=True) as client:
        answer = await client.ask("GET", "/token?scope=repository:x:pull", Authorization=basic("alice", "wrong"))
        assert challenge(answer) == {"scheme": "Basic", "realm": "argosy"}


async def test_a_blob_is_not_mounted_from_where_one_may_not_read(clock: FakeClock, passwords: Passwords) -> None:
    async with gated(clock, passwords, parse_rules("alice delete **\nci push apps/*", "rules")) as client:
        begun = await client.ask("POST", "secret/blobs/uploads/", Authorization=basic("alice"))
        content = b"secret"
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        done = await client.ask("PUT", f"{begun.headers['Location']}?digest={digest}", content, Authorization=basic("alice"))
        assert done.status == 201
        for source in ("&from=secret", ""):
            answer = await client.ask("POST", f"apps/x/blobs/uploads/?mount={digest}{source}", Authorization=basic("ci"))
            assert answer.status == 202  # to be uploaded, as if it were not there
        answer = await client.ask("POST", f"apps/x/blobs/uploads/?mount={digest}&from=secret", Authorization=basic("alice"))
        assert answer.status == 201


@pytest.mark.parametrize(("method", "path"), [("POST", "x/blobs/uploads/"), ("PUT", "x/manifests/1"), ("DELETE", "x/manifests/1")])
async def test_a_read_only_registry_takes_nothing(clock: FakeClock, method: str, path: str) -> None:
    async with gated(clock, None, ALL_TO_ANYONE, read_only=True) as client:
        assert (await client.ask(method, path, b"{}")).told == (405, "UNSUPPORTED")
        assert (await client.ask("GET", "x/tags/list")).status == 404


async def test_without_users_there_is_no_token_endpoint_and_credentials_are_not_looked_at(clock: FakeClock) -> None:
    async with gated(clock, None, ALL_TO_ANYONE) as client:
        assert (await client.ask("GET", "/token")).status == 404
        assert (await client.ask("GET", "_catalog", Authorization=basic("alice"))).status == 200


async def test_hashes_and_passwords_are_in_no_answer(clock: FakeClock, passwords: Passwords) -> None:
    async with gated(clock, passwords, ALL_TO_USERS) as client:
        answer = await client.ask("GET", "", Authorization=basic("alice", "my wrong password"))
    assert "my wrong password" not in json.dumps([answer.body.decode(), dict(answer.headers)])
