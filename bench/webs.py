"""What the router's benchmarks share: nginx as backend and as peer, a free port, one request, wrk."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from argosy.router.nginx import Nginx

COMMON = """pid nginx.pid;
error_log error.log;
worker_processes auto;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@asynccontextmanager
async def serving(folder: Path, config: str) -> AsyncIterator[None]:
    """An nginx of its own with this configuration."""
    proxy = Nginx(folder)
    try:
        await proxy.apply(config)
        yield
    finally:
        await proxy.stop()


def backends(ports: Sequence[int]) -> str:
    """The configuration of fast backends: each answers every request with a short text."""
    servers = "".join(f"  server {{ listen 127.0.0.1:{port}; return 200 hello; }}\n" for port in ports)
    return f"{COMMON}  keepalive_requests 1000000;\n{servers}}}\n"


async def status(port: int, host: str) -> int:
    """Of one request on a connection of its own; 0 when it fails."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readline()
        writer.close()
        return int(line.split()[1])
    except (OSError, IndexError, ValueError):
        return 0


async def wrk(port: int, host: str, seconds: int, connections: int, prefix: Sequence[str] = ()) -> float:
    """Requests per second. `prefix`: a command that runs wrk, such as taskset's."""
    url = f"http://127.0.0.1:{port}/"
    command = (*prefix, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", f"Host: {host}", url)
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    said = (await child.communicate())[0].decode()
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"wrk: {said}")
    return float(found[1])
