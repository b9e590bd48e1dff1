"""A small web application: answers with its instance and the machine that it runs on.

    python3 hello.py INSTANCE ADDRESS PORT

Stops at once on SIGTERM, after the answers that it is giving.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    instance = ""
    machine = socket.gethostname()

    def do_GET(self) -> None:
        body = f"Hello from instance {self.instance} on {self.machine}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Health checks and load would fill the journal."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def main() -> None:
    Hello.instance, address, port = sys.argv[1:4]
    if len(sys.argv) > 4:
        Hello.machine = sys.argv[4]
    server = Server((address, int(port)), Hello)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"instance {Hello.instance} listens on {address}:{port}", flush=True)
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
