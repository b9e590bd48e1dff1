"""An API that is served for a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argosy.reconcile import SystemClock
from argosy.web.admission import Admission
from argosy.web.listeners import Tcp, Unix
from argosy.web.server import HttpApi, Listener, Server

ANYWHERE = Tcp("127.0.0.1", 0)


@asynccontextmanager
async def served(api: HttpApi, at: Tcp | Unix = ANYWHERE, admission: Admission | None = None) -> AsyncIterator[str]:
    """Its address: HOST:PORT, or the path of the socket."""
    listener = Listener("test", at, admission or Admission("test"), api)
    async with Server([listener], SystemClock()).serving() as addresses:
        yield addresses["test"][0]
