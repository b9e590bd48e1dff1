"""A small web application: answers with its instance and where it runs.

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
    wbufsize = -1  # an answer leaves in one piece, not its head 40 ms before its body
    greeting = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(self.greeting)))
        self.end_headers()
        self.wfile.write(self.greeting)

    def log_message(self, format: str, *args: object) -> None:
        """Health checks and load would fill the journal."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def main() -> None:
    instance, address, port = sys.argv[1:]
    Hello.greeting = f"Hello from instance {instance} on {socket.gethostname()} ({address})\n".encode()
    server = Server((address, int(port)), Hello)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"instance {instance} listens on {address}:{port}", flush=True)
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
