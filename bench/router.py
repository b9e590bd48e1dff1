"""Does a router serve as many requests as an nginx configuration written by hand, with the same upstreams?

Both nginx run at once; wrk asks one, then the other, in turns, so that whatever else the machine does meets both. The peer is what an
experienced person writes for one app: kept connections, the usual headers, websockets, next upstream. Python plays no part in a request.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from argosy.model import Entry
from argosy.router.process import open_files
from argosy.router.render import Settings, render, routes_of
from argosy.router.sources import read_sources
from bench.webs import COMMON, backends, free_ports, serving, wrk

ROUNDS = 12
SECONDS = 2
CONNECTIONS = 64
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


async def run() -> dict[str, Any]:
    ours, peer, *served = free_ports(4)
    keys = {f"hello/hello@{port}": Entry(f"127.0.0.1:{port}") for port in served}
    keys |= {f"other{number}/1": Entry(f"127.0.0.1:{served[0]}") for number in range(OTHER_APPS)}
    settings = Settings(listen=(f"127.0.0.1:{ours}",), domain="example", nofile=open_files())
    config = render(routes_of(keys, {}, "example"), settings, read_sources())
    servers = " ".join(f"server 127.0.0.1:{port};" for port in served)
    by_hand = COMMON + BY_HAND.replace("SERVERS", servers).replace("PORT", str(peer))
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder:
        at = Path(folder)
        async with serving(at / "app", backends(served)), serving(at / "router", config), serving(at / "peer", by_hand):
            rates: dict[int, list[float]] = {ours: [], peer: []}
            for port in (ours, peer):
                await wrk(port, "hello.example", 1, CONNECTIONS)
            for number in range(ROUNDS):
                for port in (ours, peer) if number % 2 else (peer, ours):
                    rates[port].append(await wrk(port, "hello.example", SECONDS, CONNECTIONS))
    ratio = statistics.median(mine / theirs for mine, theirs in zip(rates[ours], rates[peer], strict=True))
    return {
        "router: its requests/s, of a hand-written nginx's": {"value": ratio * 100, "unit": "%", "reach": ">= 97"},
        "router: requests/s": {"value": statistics.median(rates[ours]), "unit": "requests/s", "reach": ""},
        "  the same by hand": {"value": statistics.median(rates[peer]), "unit": "requests/s", "reach": ""},
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
