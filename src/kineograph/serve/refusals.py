"""What the service refuses, each with its HTTP status and the code that clients know it by."""

from __future__ import annotations

from kineograph.errors import KineographError, RequestError


class Refusal(RequestError):
    """A request that is not carried out; the message is for its sender."""

    status = 400
    code = "invalid_request"
    retry_after: float | None = None  # seconds

    def __init__(
        self, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.param = param
        if retry_after is not None:
            self.retry_after = retry_after


class NotFound(Refusal):
    """There is none of that name, or it is another's."""

    status, code = 404, "not_found"


class Conflict(Refusal):
    """What is asked does not go with the state that something is in."""

    status, code = 409, "conflict"


class Gone(Refusal):
    """It was there, and is deleted or expired."""

    status, code = 410, "gone"


class BodyMismatch(Refusal):
    """An idempotency key was used before, for something else."""

    status, code = 422, "idempotency_key_reused"


class NoAccess(Refusal):
    """No key, or one that is wrong, expired or revoked."""

    status, code = 401, "invalid_api_key"


class NoKey(NoAccess):
    """A key is needed, and none came with the request."""

    code = "missing_api_key"


class TooEarly(NoAccess):
    """A signed token is not valid yet."""

    code = "token_not_yet_valid"


class TooLate(NoAccess):
    """A signed token is not valid any more."""

    code = "token_expired"


class Disabled(NoAccess):
    """The account of the key is disabled."""

    code = "account_disabled"


class Forbidden(Refusal):
    """The key is right, and may not do this."""

    status, code = 403, "insufficient_scope"


class NoCredits(Refusal):
    """The account's credits are not enough."""

    status, code = 402, "insufficient_credits"


class TooMany(Refusal):
    """More at a time, a minute or a day than the account's tier allows."""

    status, code = 429, "rate_limit_exceeded"
    retry_after = 5.0


class Unavailable(Refusal):
    """The service cannot do it now: its database, its disk or its queue is full or away."""

    status, code = 503, "unavailable"
    retry_after = 5.0


class LostLease(KineographError):
    """A job is no longer this worker's: it was taken over, cancelled or deleted."""
