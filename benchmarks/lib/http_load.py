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
    """Let them ask for ever."""
    port, path, number, per_second = sys.argv[1:]
    asking = (int(port), path, 1 / float(per_second))
    threads = [threading.Thread(target=ask, args=asking, daemon=True) for _ in range(int(number))]
    for each in threads:
        each.start()
    sys.stdout.write("asking\n")
    sys.stdout.flush()
    for each in threads:
        each.join()


def ask(port: int, path: str, gap: float) -> None:
    """Ask, and wait for the rest of the time that one request may take."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    while True:
        began = time.monotonic()
        connection.request("GET", path)
        connection.getresponse().read()
        time.sleep(max(0.0, gap - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
