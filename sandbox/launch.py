"""Exec another program that ends when the process that started it ends.

Run this file by path: `launch.py PARENT SIGNAL MODE PROGRAM [ARGUMENT ...]`. It runs in a fresh
interpreter because a `preexec_fn` would run Python code between fork and exec, which is unsafe
in a process with threads.

MODE is the identity of the program:

- `self`: the same user;
- `namespace`: an ordinary user inside a user namespace; outside, files belong to the same user;
- `UID:GID`: switch to that user.
"""

# ruff: noqa: S606 - its purpose is to exec another program

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1


def main(parent: int, death_signal: int, mode: str, argv: list[str]) -> None:
    """Set the identity and the death signal, then exec `argv`. Does not return."""
    become(mode)
    # Changing the identity clears the death signal, so set the signal afterwards.
    die_with(parent, death_signal)
    # Python ignores SIGPIPE, and background shells ignore SIGINT. Restore the defaults.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execvp(argv[0], argv)


def become(mode: str) -> None:
    """Change the user of this process according to `mode`."""
    if mode == "namespace":
        enter_namespace()
    elif mode != "self":
        uid, gid = map(int, mode.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def enter_namespace() -> None:
    """Enter a user namespace that maps this uid to an ordinary user."""
    uid, gid = os.geteuid(), os.getegid()
    other = next(entry for entry in pwd.getpwall() if entry.pw_uid not in {0, uid})
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "no user namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{other.pw_uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{other.pw_gid} {gid} 1")


def die_with(parent: int, death_signal: int) -> None:
    """Have the kernel send `death_signal` when `parent` ends. Does nothing outside Linux."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent process has ended")


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    except OSError as error:
        sys.exit(f"cannot start {sys.argv[4]}: {error}")
