"""What every classification endpoint has in common, whatever it answers."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from web import context
from web.problem import Problem, bug

Endpoint = Callable[[Any, Request], Awaitable[Response]]


def answered(endpoint: Endpoint) -> Endpoint:
    """Have a BentoML endpoint say where its time went, and what it raises, which BentoML would put in its own shape."""

    @functools.wraps(endpoint)
    async def answer(service: Any, request: Request) -> Response:
        try:
            response = await endpoint(service, request)
        except Problem as problem:
            response = context.of(request.scope).response(problem)
        except Exception as error:
            response = context.of(request.scope).response(bug(error))
        spent = context.of(request.scope).timing
        response.headers["Server-Timing"] = spent.header()
        if response.status_code == 200:
            spent.observe()
        return response

    return answer
