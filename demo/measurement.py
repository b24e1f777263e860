"""Measure the request that deletes an account: with 100,000 rows and with none.

Note [The large account is deleted repeatedly]: loading twenty accounts with 100,000 rows each would
take too long. No worker runs yet, so the rows stay, and the account is inserted again under the
same key after each request. Each request is paired with one for an empty account; the two take
turns in going first. When the workers start, the account exists, so they keep its rows and end
those deletions as kept. The account is really deleted afterwards.
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


def measure(address: str, accounts: Accounts, progress: Callable[[int], None]) -> dict[str, Any]:
    """Time requests for the large account and for empty ones. The first pairs are a warm-up."""
    giant, taken = accounts.giant, {"giant": list[float](), "empty": list[float]()}
    for number in range(WARM_UP + PAIRS):
        empty = accounts.take_empty()
        pair = {"giant": giant, "empty": empty}
        for name in sorted(pair, reverse=bool(number % 2)):
            taken[name].append(delete(address, pair[name]))
        giant.save(force_insert=True)
        progress(number + 1)
    measured = {name: values[WARM_UP:] for name, values in taken.items()}
    median = {name: statistics.median(values) for name, values in measured.items()}
    return {
        "pairs": PAIRS,
        "giant_milliseconds": round(median["giant"], 2),
        "empty_milliseconds": round(median["empty"], 2),
        "ratio": round(median["giant"] / median["empty"], 3),
    }


def delete(address: str, user: User) -> float:
    """Delete the account through its page; return the milliseconds of the POST request."""
    browser = logged_in(address, user)
    browser.get(PAGE)
    return browser.submit(PAGE, {}).milliseconds


def logged_in(address: str, user: User) -> Browser:
    """Return a browser with a session of the account. It skips the slow password check."""
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    browser = Browser(address)
    browser.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
    return browser
