"""The example: a web application that tells which of its instances answers, on which machine, in which version.

    /          a page for browsers, one line of text for everybody else
    /health    200 as long as it takes requests, 503 once it has been told to stop

It reads INSTANCE, MACHINE, VERSION and PORT from its environment. On SIGTERM it takes no new connections, gives the answers that it owes,
and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import os
import signal
import socket
import time

INSTANCE = os.environ.get("INSTANCE") or socket.gethostname()
MACHINE = os.environ.get("MACHINE") or "a machine that does not say its name"
VERSION = os.environ.get("VERSION") or "1"
PORT = int(os.environ.get("PORT") or 3000)

LINE = f"example-app: instance {INSTANCE} on {MACHINE}, version {VERSION}\n"
IDLE = 75.0
FAREWELL = 8.0
LONGEST_HEAD = 16384

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Instance {instance} · Argosy</title>
<style>
  :root {{ color-scheme: light dark; --hue: {hue}; }}
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; font: 17px/1.5 system-ui, sans-serif;
         background: linear-gradient(160deg, hsl(var(--hue) 60% 92%), hsl(calc(var(--hue) + 40) 60% 82%)); color: #12202b; }}
  main {{ background: #fffd; border-radius: 20px; padding: 2.5rem 3rem; box-shadow: 0 20px 60px #0002; max-width: 26rem; }}
  h1 {{ margin: 0 0 .2rem; font-size: 1.9rem; letter-spacing: -.02em; }}
  p {{ margin: 0 0 1.6rem; color: #4a5b66; }}
  dl {{ display: grid; grid-template-columns: auto 1fr; gap: .5rem 1.5rem; margin: 0; }}
  dt {{ color: #4a5b66; }}
  dd {{ margin: 0; font-weight: 650; text-align: right; font-variant-numeric: tabular-nums; }}
  .sail {{ width: 56px; height: 56px; margin-bottom: 1rem; }}
  @media (prefers-color-scheme: dark) {{
    body {{ background: linear-gradient(160deg, hsl(var(--hue) 35% 16%), hsl(calc(var(--hue) + 40) 35% 10%)); color: #eef4f7; }}
    main {{ background: #16222bdd; }} p, dt {{ color: #9fb2bf; }}
  }}
</style>
<main>
  <svg class="sail" viewBox="0 0 56 56" role="img" aria-label="a ship under sail">
    <path d="M27 4 C40 14 42 27 40 36 L27 36 Z" fill="hsl({hue} 65% 50%)"/>
    <path d="M24 10 L24 36 L10 36 C12 26 17 17 24 10 Z" fill="hsl({hue} 65% 66%)"/>
    <path d="M5 40 L51 40 C48 48 42 52 34 52 L20 52 C12 52 8 48 5 40 Z" fill="hsl({hue} 45% 30%)"/>
  </svg>
  <h1>It works</h1>
  <p>Reload, and another instance may answer.</p>
  <dl>
    <dt>Instance</dt><dd>{instance}</dd>
    <dt>Machine</dt><dd>{machine}</dd>
    <dt>Version</dt><dd>{version}</dd>
    <dt>Up since</dt><dd>{since}</dd>
  </dl>
</main>
</html>
"""


def page() -> str:
    words = {"instance": INSTANCE, "machine": MACHINE, "version": VERSION, "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())}
    hue = (200 + 67 * sum(VERSION.encode())) % 360
    return PAGE.format(hue=hue, **{name: html.escape(word) for name, word in words.items()})


class App:
    def __init__(self) -> None:
        self.stopping = False
        self.page = page()
        self.idle: set[asyncio.StreamWriter] = set()
        self.busy: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until SIGTERM or SIGINT; then at most FAREWELL seconds for the answers that are owed."""
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        server = await asyncio.start_server(self.connected, "0.0.0.0", PORT, limit=LONGEST_HEAD, backlog=512)
        print(f"{LINE.strip()}: listening on port {PORT}", flush=True)
        await told.wait()
        self.stopping = True
        server.close()
        for writer in self.idle:
            writer.close()
        if self.busy:
            await asyncio.wait(self.busy, timeout=FAREWELL)
        print("stopped", flush=True)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with as many requests as its client sends on it."""
        task = asyncio.current_task()
        assert task is not None
        self.busy.add(task)
        try:
            while not self.stopping:
                self.idle.add(writer)
                try:
                    async with asyncio.timeout(IDLE):
                        head = await reader.readuntil(b"\r\n\r\n")
                finally:
                    self.idle.discard(writer)
                if not self.answer(head.decode("latin-1"), writer):
                    break
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass
        finally:
            self.busy.discard(task)
            await self.close(writer)

    async def close(self, writer: asyncio.StreamWriter) -> None:
        """Once what was written is sent."""
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def answer(self, head: str, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is kept for another request."""
        request, *lines = head.split("\r\n")
        method, _, target = request.partition(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status, kind, text = self.found(method, target.split(" ")[0].partition("?")[0], headers.get("accept", ""))
        keep = method in ("GET", "HEAD") and not self.stopping and headers.get("connection", "").lower() != "close"
        body = text.encode()
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n".encode()
            + (b"" if method == "HEAD" else body)
        )
        return keep

    def found(self, method: str, path: str, accept: str) -> tuple[str, str, str]:
        """(status, content type, text)."""
        if method not in ("GET", "HEAD"):
            return "405 Method Not Allowed", "text/plain", "ask with GET\n"
        if path == "/health":
            return ("503 Service Unavailable", "text/plain", "stopping\n") if self.stopping else ("200 OK", "text/plain", "ok\n")
        if path != "/":
            return "404 Not Found", "text/plain", f"there is nothing at {path}\n"
        return ("200 OK", "text/html", self.page) if "text/html" in accept else ("200 OK", "text/plain", LINE)


if __name__ == "__main__":
    asyncio.run(App().serve())
