"""Does a router serve as many requests as an nginx configuration written by hand, with the same upstreams?

The peer is what an experienced person writes for one app: kept connections, the usual headers, websockets, next upstream. Python plays
no part in a request. Both are asked at the same time by a wrk of their own, with one worker each on the same core (backends and wrk on
another): the core gives both the same time, and whatever else the machine does meets both. A second peer, equal to the first, shows how
exact that is.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from argosy.model import Entry
from argosy.router.process import open_files
from argosy.router.render import Settings, render, routes_of
from argosy.router.sources import read_sources
from bench.webs import COMMON, backends, free_ports, serving, wrk

ROUNDS = 30
CONNECTIONS = 32
OTHER_APPS = 50

BY_HAND = """
  upstream hello { SERVERS keepalive 32; }
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server { listen 127.0.0.1:PORT default_server; return 404; }
  server {
    listen 127.0.0.1:PORT;
    server_name hello.example;
    location / {
      proxy_pass http://hello;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host;
      proxy_read_timeout 86400s;
      proxy_next_upstream error timeout http_502 http_503 http_504;
    }
  }
}
"""


def pinned(config: str, core: int) -> str:
    """One worker, on that core where there are several."""
    mask = f" worker_cpu_affinity {1 << core:b};" if len(os.sched_getaffinity(0)) > 1 else ""
    return config.replace("worker_processes auto;", f"worker_processes 1;{mask}")


async def rivals(first: int, second: int) -> tuple[float, float]:
    """Requests/s of two that are asked at the same time."""
    prefix = ("taskset", "-c", "1") if len(os.sched_getaffinity(0)) > 1 else ()
    return tuple(await asyncio.gather(*(wrk(port, "hello.example", 1, CONNECTIONS, prefix) for port in (first, second))))  # type: ignore[return-value]


async def run() -> dict[str, Any]:
    ours, peer, control, *served = free_ports(5)
    keys = {f"hello/hello@{port}": Entry(f"127.0.0.1:{port}") for port in served}
    keys |= {f"other{number}/1": Entry(f"127.0.0.1:{served[0]}") for number in range(OTHER_APPS)}
    settings = Settings(listen=(f"127.0.0.1:{ours}",), domain="example", nofile=open_files())
    config = render(routes_of(keys, {}, "example"), settings, read_sources())
    servers = " ".join(f"server 127.0.0.1:{port};" for port in served)
    by_hand = {port: COMMON + BY_HAND.replace("SERVERS", servers).replace("PORT", str(port)) for port in (peer, control)}
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(serving(Path(folder) / "app", pinned(backends(served), 1)))
            for port, text in {ours: config, **by_hand}.items():
                await stack.enter_async_context(serving(Path(folder) / str(port), pinned(text, 0)))
            pairs: dict[int, list[tuple[float, float]]] = {ours: [], control: []}
            for _ in range(ROUNDS):
                for port, found in pairs.items():
                    found.append(await rivals(port, peer))
    share = {port: sum(mine for mine, _ in found) / sum(theirs for _, theirs in found) * 100 for port, found in pairs.items()}
    return {
        "router: its requests/s, of a hand-written nginx's": {"value": share[ours], "unit": "%", "reach": ">= 97"},
        "  an equal hand-written nginx's, the same way": {"value": share[control], "unit": "%", "reach": ""},
        "  requests/s of one router's worker on half a core": {
            "value": statistics.median(mine for mine, _ in pairs[ours]),
            "unit": "requests/s",
            "reach": "",
        },
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
