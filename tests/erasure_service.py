"""A service that is told by webhook what to erase, as another company would run it."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from apps.integrity.contrib.erasure import signing

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "a secret of both"


class ErasureService(ThreadingHTTPServer):
    """Holds the ids in `held`, and answers with `status` and `answer`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.held: set[Any] = set()
        self.status, self.answer = 200, {"erased": True}
        self.headers: dict[str, str] = {}
        #: Every such request fails; 0: none does.
        self.fails_each = 0
        self.delay_seconds = 0.0
        self.lock = threading.Lock()
        self.calls: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.failed = self.unsigned = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, *_: Any) -> None:
        """A client that has gone is no news."""


class Handler(BaseHTTPRequestHandler):
    server: ErasureService

    def do_POST(self) -> None:
        service = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not signing.is_signed(self.headers, body, SECRET):
            service.unsigned += 1
            return self.reply(403, {})
        message = json.loads(body)
        with service.lock:
            service.calls.append((dict(self.headers.items()), message))
            number = len(service.calls)
        time.sleep(service.delay_seconds)
        if service.fails_each and number % service.fails_each == 0:
            service.failed += 1
            if service.failed % 2:  # half of them after the work was done
                self.erase(message)
            return self.reply(500 + service.failed % 4, {})
        if self.path == "/left":
            left = sum(item["value"] in service.held for item in message["items"])
            return self.reply(200, {"left": left})
        self.erase(message)
        return self.reply(service.status, service.answer)

    def erase(self, message: dict[str, Any]) -> None:
        if self.server.status in {200, 204}:
            self.server.held -= {item["value"] for item in message["items"]}

    def reply(self, status: int, document: Any) -> None:
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        text = b"" if status == 204 else json.dumps(document).encode()
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextmanager
def running() -> Iterator[ErasureService]:
    with ErasureService() as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join()
