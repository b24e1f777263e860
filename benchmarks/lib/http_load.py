"""`python -m benchmarks.lib.http_load PORT PATH CLIENTS PER_SECOND`: anonymous HTTP clients.

They run until they are stopped. Each sends PER_SECOND requests a second over its own connection.
The program prints "asking" once it has started.
"""

from __future__ import annotations

import sys
import threading
import time
from http.client import HTTPConnection


def main() -> None:
    """Run the clients until the process is stopped."""
    port, path, number, per_second = sys.argv[1:]
    arguments = (int(port), path, 1 / float(per_second))
    threads = [
        threading.Thread(target=send_requests, args=arguments, daemon=True)
        for _ in range(int(number))
    ]
    for thread in threads:
        thread.start()
    sys.stdout.write("asking\n")
    sys.stdout.flush()
    for thread in threads:
        thread.join()


def send_requests(port: int, path: str, gap: float) -> None:
    """Send a request every `gap` seconds, forever."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    while True:
        began = time.monotonic()
        connection.request("GET", path)
        connection.getresponse().read()
        time.sleep(max(0.0, gap - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
