"""The API that docs/web.md shows works as it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp

from argosy.reconcile import SystemClock

PAGE = Path(__file__).parent.parent.parent / "docs" / "web.md"


async def test_the_example_is_a_whole_api(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    server = names["server"](names["Catalog"](), str(tmp_path / "s"), "127.0.0.1:0", SystemClock())
    async with server.serving() as addresses, aiohttp.ClientSession(f"http://{addresses['http'][0]}") as session:
        async with session.put("/v1/services", json={"name": "web", "port": 80}) as put:
            assert put.status == 204
        async with session.get("/v1/services?prefix=w") as listed:
            assert (await listed.json(), listed.headers["X-Index"]) == (["web"], "1")
        async with session.get("/v1/services/none") as missing:
            assert (missing.status, await missing.text()) == (404, "there is no service none")
        async with session.put("/v1/services", json={"name": "web"}) as bad:
            assert bad.status == 400
