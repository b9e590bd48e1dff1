"""Whoever may announce an instance makes a router send requests to a listener of its machine: no API serves what comes so. The router is
the real one. (Where the agent is a user's own, its nginx is that user's too, whom the kernel's word alone would let in.)"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from argosy.config import TlsSection
from argosy.images.service import serving
from argosy.reconcile import SystemClock
from tests.api.house import a_house
from tests.images.test_service import on_free_port
from tests.router.test_serving import house
from tests.router.web import needs_nginx

pytestmark = needs_nginx

UNIT = b'{"text": "[Service]\\nExecStart=/bin/true\\n", "target": "launched"}'
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
JSON = "Content-Type: application/json\r\n"

REQUESTS: list[tuple[str, str, str, bytes, str]] = [
    ("registry", "GET", "/v2/", b"", ""),
    ("registry", "POST", "/v2/evil/blobs/uploads/", b"", ""),
    ("registry", "PUT", "/v2/evil/manifests/latest", b"{}", JSON),
    ("tcp", "PUT", "/argosy/v1/units/x.service", UNIT, JSON),
    ("tcp", "GET", "/argosy/v1/health", b"", ""),
    ("tcp", "GET", "/metrics", b"", ""),
    ("tcp", "GET", "/fleet/v1/units", b"", ""),
    ("keys", "PUT", "/v2/keys/services/web/a/1", b"value=127.0.0.1:1", FORM),
    ("keys", "GET", "/v2/keys/", b"", ""),
    ("keys", "GET", "/health", b"", ""),
]
HIDING = (
    "Connection: close, X-Forwarded-For, X-Real-IP, X-Forwarded-Proto, X-Forwarded-Host\r\n",
    "X-Forwarded-For:\r\nX-Real-IP:\r\n",
)
"""What a client may try so that the router does not tell."""


@asynccontextmanager
async def listeners(folder: Path) -> AsyncIterator[dict[str, str]]:
    async with a_house(folder / "api") as api, serving(on_free_port(folder), TlsSection(), SystemClock()) as images:
        yield {"tcp": api.address("tcp"), "keys": api.address("keys"), "registry": images.doors[0].url.removeprefix("http://")}


@pytest.mark.parametrize("hiding", ["", *HIDING], ids=["plain", "hop by hop", "emptied"])
async def test_no_api_is_reached_through_a_router(tmp_path: Path, hiding: str) -> None:
    async with listeners(tmp_path) as addresses, house(tmp_path) as router:
        await router.set(**{f"{app}__1": address for app, address in addresses.items()})
        for app, method, path, body, kind in REQUESTS:
            answer = await router.ask(f"{app}.example", path, method=method, body=body, headers=kind + hiding)
            assert answer.status == 403, (app, method, path, answer)
            assert "proxy that is not named" in answer.body
