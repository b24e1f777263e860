"""A small HTTP client with cookies and forms. It measures times and follows no redirects."""

from __future__ import annotations

import http.client
import time
from base64 import b64encode
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from .failure import UnexpectedAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response, and the milliseconds that it took."""

    status: int
    body: str
    milliseconds: float


class Browser:
    """A client of a local site that keeps cookies."""

    def __init__(self, address: str, *, login: tuple[str, str] | None = None) -> None:
        """Use `address` ("http://host:port"), with basic authentication if `login` is set."""
        self.host = urlsplit(address).netloc
        self.cookies: dict[str, str] = {}
        self._headers: dict[str, str] = {}
        if login:
            self._headers["Authorization"] = "Basic " + b64encode(":".join(login).encode()).decode()

    def get(self, path: str, *, expect: int = 200) -> Answer:
        """Request a page. Raises UnexpectedAnswer if the status is not `expect`."""
        return self._ask("GET", path, expect=expect)

    def submit(
        self, path: str, fields: Mapping[str, str | Sequence[str]], *, expect: int = 302
    ) -> Answer:
        """Submit a form of a page that was requested before. Raises UnexpectedAnswer."""
        form = {**fields, "csrfmiddlewaretoken": self.cookies.get("csrftoken", "")}
        return self._ask("POST", path, urlencode(form, doseq=True), expect=expect)

    def log_in(self, path: str, *, name: str, password: str) -> None:
        """Log in with the form at `path`. Raises UnexpectedAnswer if the login is refused."""
        self.get(path)
        self.submit(path, {"username": name, "password": password})

    def _ask(self, method: str, path: str, body: str | None = None, *, expect: int) -> Answer:
        headers = dict(self._headers)
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{key}={value}" for key, value in self.cookies.items())
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection(self.host, timeout=TIMEOUT_SECONDS)
        started = time.perf_counter()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        finally:
            connection.close()
        milliseconds = (time.perf_counter() - started) * 1_000
        if response.status != expect:
            raise UnexpectedAnswer(f"{method} {path} answered {response.status}, not {expect}")
        self._keep_cookies(response.msg.get_all("Set-Cookie") or [])
        return Answer(status=response.status, body=text, milliseconds=milliseconds)

    def _keep_cookies(self, received: Sequence[str]) -> None:
        for line in received:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
