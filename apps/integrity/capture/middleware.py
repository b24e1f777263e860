"""Optional: the user of a request is the actor of what the request deletes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from django.utils.decorators import sync_and_async_middleware

from .stating import from_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest


@sync_and_async_middleware
def actor(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Return the middleware. Put it after Django's AuthenticationMiddleware.

    It reads `request.user` when something is deleted, and not before.
    """
    if inspect.iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> Any:
            with from_request(request):
                return await get_response(request)

        return answer_async

    def answer(request: HttpRequest) -> Any:
        with from_request(request):
            return get_response(request)

    return answer
