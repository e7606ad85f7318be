"""What all parts of the API share: who asks, how often, at which address, and how it is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from kineograph.errors import KineographError, RequestError, shown
from kineograph.serve import access
from kineograph.serve.access import Identity
from kineograph.serve.bodies import Body, read_body
from kineograph.serve.logs import logger
from kineograph.serve.openai_answers import error_object
from kineograph.serve.rates import REQUESTS, SUBMISSIONS, Rates
from kineograph.serve.refusals import NoAccess, NoKey, Refusal
from kineograph.serve.service import Service

T = TypeVar("T")
SLOW = 8  # requests whose files are judged at the same time; others wait, and hold up nobody
SAME = 1.0  # seconds for which the account of those without a key is not read again
CLOSED = 499  # the status that logs have for a client that is gone; nobody gets it


@dataclass
class Api:
    """The service as the routes see it."""

    service: Service
    rates: Rates = field(default_factory=Rates)
    slow: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(SLOW))
    _local: tuple[float, Identity] | None = None  # when it was read, and who needs no key

    async def who(self, request: Request, kind: str = REQUESTS) -> Identity:
        """Return who asks, within the rate of their tier; the rate goes into `request.state`.

        Raises:
            NoAccess: there is no key, or it is wrong, expired or revoked.
            TooFast: more often than the tier allows.
        """
        known = self._local
        if (
            known is not None and time.monotonic() - known[0] < SAME
            and "authorization" not in request.headers and self.service.settings.is_open()
        ):  # fmt: skip
            self._count(request, known[1], kind)
            return known[1]
        return await run_in_threadpool(self._who, request, kind)

    def _who(self, request: Request, kind: str) -> Identity:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        settings, now = self.service.settings, time.time()
        if not token.strip() and not settings.is_open():
            raise NoKey("an API key is needed: send it as 'Authorization: Bearer KEY'")
        with self.service.database.read() as connection:
            who = self._identify(connection, scheme, token.strip(), now)
        if who.key_id is None:
            self._local = (time.monotonic(), who)
        self._count(request, who, kind)
        if who.seen_due and who.key_id is not None:
            with suppress(DBAPIError), self.service.database.write() as connection:
                access.touch(connection, who.key_id, now)
        return who

    def _count(self, request: Request, who: Identity, kind: str) -> None:
        """Take the request from what the account may ask in a minute."""
        tier = self.service.settings.tier(who.tier)
        limit = tier.per_minute if kind == SUBMISSIONS else tier.polls_per_minute
        request.state.rate = self.rates.take(who.account_id, kind, limit)

    def _identify(self, connection: Any, scheme: str, token: str, now: float) -> Identity:  # noqa: ANN401 - a Connection
        settings = self.service.settings
        if token and scheme.lower() != "bearer":
            raise NoAccess("the Authorization header must be 'Bearer KEY'")
        if token.startswith(access.PREFIX):
            return access.identify(connection, token, now)
        if token.count(".") == 2:
            return access.identify_signed(connection, token, settings, now)
        if settings.is_open():  # clients that insist on a key send any word
            return access.without_key(access.get_account(connection, access.LOCAL))
        return access.identify(connection, token, now)

    async def body(self, request: Request) -> Body:
        """Read a request's body under the limits that are set; the caller closes it."""
        settings = self.service.settings
        return await read_body(
            request, max_bytes=settings.max_body, max_file_bytes=settings.max_upload
        )

    def base(self, request: Request) -> str:
        """Return the address that the client reaches the service at."""
        return (self.service.settings.public_url or str(request.base_url)).rstrip("/")


    async def run_slow(self, do: Callable[..., T], *args: Any, **named: Any) -> T:  # noqa: ANN401 - handed on
        """Do what may take long, in one of the few threads that are there for it."""
        return await run_sync(partial(do, *args, **named), limiter=self.slow)


async def run(do: Callable[..., T], *args: Any, **named: Any) -> T:  # noqa: ANN401 - handed on
    """Do what waits for the database or for files, where nothing else has to wait for it."""
    return await run_in_threadpool(do, *args, **named)


@dataclass(frozen=True)
class Problem:
    """An error as an answer: its HTTP status, its code and what it says."""

    status: int
    code: str
    message: str
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self) -> Response:
        """Return the envelope that OpenAI's clients know."""
        told = error_object(self.status, self.message, code=self.code, param=self.param)
        return JSONResponse(told, self.status, headers=dict(self.headers))


def problem_of(error: Exception) -> Problem:
    """Return what is told of an exception; what nobody foresaw is logged and told as such."""
    if isinstance(error, Refusal):
        return Problem(error.status, error.code, str(error), error.param, _headers(error))
    if isinstance(error, RequestError):
        code = str(getattr(error, "code", "invalid_request"))
        return Problem(400, code, str(error), getattr(error, "param", None))
    if isinstance(error, ClientDisconnect):
        return Problem(CLOSED, "client_closed_request", "the client is gone")
    # What the database finds wrong with a statement is a fault of ours; the rest is its absence.
    ours = isinstance(error, (DataError, IntegrityError, ProgrammingError))
    if isinstance(error, (DBAPIError, PoolTimeout)) and not ours:
        logger().error("the database is away", error=type(error).__name__)
        return Problem(
            503, "unavailable", "the service cannot reach its database now; try again",
            headers={"Retry-After": "5"},
        )  # fmt: skip
    logger().error("a request failed", exc_info=error)
    message = str(error) if isinstance(error, KineographError) else "an error of the service"
    return Problem(500, "internal_error", message)


def _headers(error: Refusal) -> dict[str, str]:
    """Return the headers of a refusal: when to come again, and whether to."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(_up(error.retry_after))
    elif error.status == 409:
        headers["x-should-retry"] = "false"  # else OpenAI's clients send it thrice
    rate = getattr(error, "rate", None)
    if rate is not None:
        headers |= rate.headers()
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers | dict(getattr(error, "headers", {}))


def invalid_message(error: RequestValidationError) -> str:
    """Return what is wrong with the first of a request's parameters, which it names and shows."""
    first = error.errors()[0]
    return f"{first['loc'][-1]} {shown(first.get('input'))}: {first['msg']}"


def _up(seconds: float) -> int:
    return max(-int(-seconds // 1), 1)
