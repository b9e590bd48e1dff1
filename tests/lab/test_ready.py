"""When a machine is ready."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import web

from argosy.lab import ready

PEERS = {"a": "m1", "b": "m2"}

ANSWERS: Sequence[tuple[str, int, str, str]] = [
    ("it sees everybody", 200, '{"machines": [{"id": "b"}, {"id": "a"}, {"id": "z"}]}', ""),
    ("it does not see one", 200, '{"machines": [{"id": "a"}]}', "does not see m2"),
    ("it sees nobody", 200, '{"machines": []}', "does not see m1, m2"),
    ("its store is away", 503, '{"error": {}}', "answers with status 503"),
    ("it answers nonsense", 200, "[]", "does not answer"),
    ("it answers no JSON", 200, "<html>", "does not answer"),
]


@pytest.mark.parametrize(("sentence", "status", "body", "expected"), ANSWERS, ids=[row[0] for row in ANSWERS])
async def test_what_a_machine_lacks(tmp_path: Path, sentence: str, status: int, body: str, expected: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.path == "/argosy/v1/machines"
        return web.Response(status=status, text=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "socket")).start()
        assert await ready.lacking(tmp_path / "socket", PEERS) == expected
    finally:
        await runner.cleanup()


async def test_a_machine_without_a_socket_does_not_answer(tmp_path: Path) -> None:
    assert await ready.lacking(tmp_path / "socket", PEERS) == "does not answer"
