"""How long the request that deletes an account takes: 100,000 rows against none.

Note [One giant, deleted again and again]: twenty accounts of 100,000 rows each would be another
demo. Here no worker runs yet, so the rows stay, and after each request the giant's account is put
back under the same key. Every request deletes an account that 100,000 rows refer to, each next to
one of an empty account, in turn first and second. When the workers start, they find the account
alive and end those deletions as kept, without touching a row; the real one comes after that.
"""

from __future__ import annotations

import statistics
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

from .browser import Browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User

    from .data import Accounts

PAGE = "/account/delete/"
WARM_UP, PAIRS = 2, 20


def measure(address: str, accounts: Accounts, told: Callable[[int], None]) -> dict[str, Any]:
    """Time a request for the giant beside one for an empty account; the first pairs warm up."""
    giant, taken = accounts.giant, {"giant": list[float](), "empty": list[float]()}
    for number in range(WARM_UP + PAIRS):
        empty = accounts.take_empty()
        pair = {"giant": giant, "empty": empty}
        for name in sorted(pair, reverse=bool(number % 2)):
            taken[name].append(delete(address, pair[name]))
        giant.save(force_insert=True)
        told(number + 1)
    measured = {name: values[WARM_UP:] for name, values in taken.items()}
    median = {name: statistics.median(values) for name, values in measured.items()}
    return {
        "pairs": PAIRS,
        "giant_milliseconds": round(median["giant"], 2),
        "empty_milliseconds": round(median["empty"], 2),
        "ratio": round(median["giant"] / median["empty"], 3),
    }


def delete(address: str, user: User) -> float:
    """Delete the account through its page; gives the milliseconds of the request that does it."""
    browser = logged_in(address, user)
    browser.get(PAGE)
    return browser.submit(PAGE, {}).milliseconds


def logged_in(address: str, user: User) -> Browser:
    """A browser with a session of that account, made directly: checking a password is slow."""
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    browser = Browser(address)
    browser.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
    return browser
