"""Become another program, tied to the life of whoever started us.

Run by path, in a process of its own: `launch.py PARENT SIGNAL MODE PROGRAM [ARGUMENT ...]`.
Doing this in a fresh interpreter instead of a `preexec_fn` keeps Python code out of
the fork of a process that may have threads.

MODE is `self` (stay who we are), `namespace` (look like an ordinary user inside a user
namespace, while files stay ours) or `UID:GID` (drop to that user for good).
"""

# ruff: noqa: S606 - becoming another program is its job

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
    """Take on the identity and the death signal, then exec `argv`; never returns."""
    become(mode)
    # Changing the identity clears the death signal, so it comes second.
    die_with(parent, death_signal)
    # Python ignores SIGPIPE and a background shell SIGINT; programs expect neither.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execvp(argv[0], argv)


def become(mode: str) -> None:
    """Change the user of this process as `mode` says."""
    if mode == "namespace":
        enter_namespace()
    elif mode != "self":
        uid, gid = map(int, mode.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def enter_namespace() -> None:
    """Enter a user namespace in which our uid looks like an ordinary user's."""
    uid, gid = os.geteuid(), os.getegid()
    other = next(entry for entry in pwd.getpwall() if entry.pw_uid not in {0, uid})
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "no user namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{other.pw_uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{other.pw_gid} {gid} 1")


def die_with(parent: int, death_signal: int) -> None:
    """Ask the kernel for `death_signal` when `parent` ends; only Linux offers it."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the process that asked for this one is gone")


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    except OSError as error:
        sys.exit(f"cannot start {sys.argv[4]}: {error}")
