"""What is noted of every request: how long it took, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kineograph.serve.logs import logger
from kineograph.serve.metrics import count_request

QUIET = ("/health", "/ready", "/metrics")  # asked all the time, and not worth a line


class Noted:
    """Count each request when its answer begins, and log it when it has ended.

    `answer` makes the answer to what nobody foresaw. Left to those further out, the server would
    close the connection after it, on which the client may be sending its next request.
    """

    def __init__(
        self, app: ASGIApp, answer: Callable[[Request, Exception], Awaitable[Response]]
    ) -> None:
        self.app, self.answer = app, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        def route() -> str:
            # Of a request that no route knows, the path may be anything.
            return str(getattr(scope.get("route"), "path", "other"))

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                count_request(scope["method"], route(), status, time.perf_counter() - begun)
            await send(message)

        try:
            await self.app(scope, receive, told)
        except Exception as error:
            if status:  # its answer has begun, and can but be cut off
                raise
            await (await self.answer(Request(scope), error))(scope, receive, told)
        finally:
            if status == 0:  # nobody is there any more
                status = 500
                count_request(scope["method"], route(), status, time.perf_counter() - begun)
            if route() not in QUIET:
                logger().debug(
                    "request", method=scope["method"], path=scope["path"], status=status,
                    ms=round(1000 * (time.perf_counter() - begun), 1),
                )  # fmt: skip
