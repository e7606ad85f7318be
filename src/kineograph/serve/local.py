"""A service without keys is for this machine, and not for the pages that its browser shows.

A page of somebody else's may send requests to 127.0.0.1, and, when its own name is made to lead
there (DNS rebinding), read the answers too. The first kind names its page as the origin, the second
itself as the host: both are refused.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from kineograph.errors import shown
from kineograph.serve.http import Problem

HERE = frozenset({"127.0.0.1", "localhost", "::1", "testserver"})


class LocalOnly:
    """Middleware that answers 403 to what a page of another site sends."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            problem = _problem(Request(scope))
            if problem is not None:
                await problem.answer()(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _problem(request: Request) -> Problem | None:
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    if _name(f"//{host}") not in HERE:
        return Problem(
            403, "wrong_host",
            f"the host {shown(host)} is not this machine, which alone is served without keys; "
            "ask at localhost, or start the service with --open no",
        )  # fmt: skip
    if origin is not None and _name(origin) not in HERE:
        return Problem(
            403, "wrong_origin",
            f"a page of {shown(origin)} may not use a service that asks for no keys",
        )  # fmt: skip
    return None


def _name(url: str) -> str | None:
    """Return the name of a URL's host; None where it has none, or is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
