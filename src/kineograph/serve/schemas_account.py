"""The shapes of an account's routes, for the OpenAPI document: see `schemas` for the videos'."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path as InPath
from fastapi import Query
from pydantic import BaseModel, Field

from kineograph.serve.access import LONGEST_OVERLAP, SCOPES
from kineograph.serve.invitations import NOTE_CHARS
from kineograph.serve.reading import MAX_URL_CHARS
from kineograph.serve.schemas import refusals

MAX_NAME_CHARS = 200
MAX_CODE_CHARS = 100
LATEST = 253_402_300_799  # the end of the year 9999, in seconds since 1970
AnId = Annotated[str, InPath(pattern="^[A-Za-z0-9_-]{1,64}$", description="its id")]
AfterEntry = Annotated[
    int | None, Query(ge=1, le=2**62, description="id of the last entry of the page before")
]
Limit = Annotated[int, Query(ge=1, le=100, description="entries on a page")]
OfVideo = Annotated[
    str | None, Query(pattern="^[A-Za-z0-9_-]{1,64}$", description="of one video alone")
]


class TierLimits(BaseModel):
    """What the accounts of a tier may do, and how their videos stand in the queue."""

    name: str
    rank: int
    weight: float
    boost: float
    in_hand: int = Field(description="videos waiting, running or paused at a time")
    per_minute: int = Field(description="submissions")
    polls_per_minute: int = Field(description="other requests")
    seconds_per_day: float = Field(description="of video, submitted within 24 hours")
    pays: bool


class KeyInUse(BaseModel):
    """The key that asks."""

    id: str | None = Field(description="none where no key was needed")
    scopes: list[str]


class Account(BaseModel):
    """An account."""

    id: str
    object: Literal["account"]
    name: str
    created_at: int
    tier: TierLimits
    balance: float = Field(description="credits that may be spent")
    reserved: float = Field(description="credits held for videos in hand")
    in_hand: int
    seconds_today: float = Field(description="of video, submitted within 24 hours")
    key: KeyInUse


class Entry(BaseModel):
    """A change of the balance."""

    id: int
    object: Literal["ledger.entry"]
    kind: Literal["grant", "reserve", "settle", "refund"]
    amount: float = Field(description="credits, below 0 where they were taken")
    balance: float = Field(description="credits after it")
    video_id: str | None
    note: str
    created_at: int


class LedgerPage(BaseModel):
    """A page of the ledger, the newest entry first."""

    object: Literal["list"]
    data: list[Entry]
    first_id: int | None
    last_id: int | None
    has_more: bool


class Key(BaseModel):
    """A key, without what it opens."""

    id: str
    object: Literal["key"]
    name: str
    scopes: list[str]
    signing: bool = Field(description="whether signed tokens are taken")
    created_at: int
    expires_at: int | None
    used_at: int | None = None
    revoked_at: int | None = None


class NewKey(Key):
    """A key that was just made: what is secret of it is told this once."""

    token: str
    access_key: str | None = Field(default=None, description="iss of signed tokens")
    secret_key: str | None = Field(default=None, description="that signs them")


class KeyPage(BaseModel):
    """The keys of an account, the newest first."""

    object: Literal["list"]
    data: list[Key]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Webhook(BaseModel):
    """A URL that the account's events are sent to."""

    id: str
    object: Literal["webhook"]
    url: str
    created_at: int
    disabled_at: int | None = Field(description="when it answered 410")
    both_secrets_until: int | None = Field(description="until when the secret before signs too")


class NewWebhook(BaseModel):
    """One that was just made or rotated: its secret is told this once."""

    id: str
    object: Literal["webhook"]
    url: str
    secret: str


class WebhookPage(BaseModel):
    """The webhooks of an account, the oldest first."""

    object: Literal["list"]
    data: list[Webhook]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Secret(BaseModel):
    """What signs the callbacks of the account's videos."""

    object: Literal["webhook.secret"]
    secret: str


class Delivery(BaseModel):
    """An announcement, and what became of it."""

    id: str
    object: Literal["webhook.delivery"]
    webhook_id: str | None = Field(description="none: it goes to the video's callback_url")
    url: str
    video_id: str | None
    type: str
    state: Literal["waiting", "delivered", "given_up"]
    attempts: int
    answer: str | None = Field(description="the last status or error")
    body: str | None = Field(description="what is sent, from the first attempt on")
    created_at: int
    next_at: int | None


class DeliveryPage(BaseModel):
    """Announcements, the newest first."""

    object: Literal["list"]
    data: list[Delivery]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Replayed(BaseModel):
    """How many announcements are sent again."""

    id: str
    object: Literal["webhook.replay"]
    count: int


class Removed(BaseModel):
    """What is no longer there."""

    id: str
    object: str
    deleted: Literal[True]


class Received(BaseModel):
    """The answer to any application, whether its sender was known or not."""

    object: Literal["application"]
    status: Literal["received"]
    message: str


class Opened(BaseModel):
    """The account that an invitation has opened, and its first key."""

    object: Literal["invitation.redeemed"]
    account: dict[str, Any]
    key: NewKey


_NAME = {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS}
FIELDS: dict[str, dict[str, Any]] = {
    "key": {
        "name": {**_NAME, "description": "what you call it"},
        "scopes": {
            "type": "array", "minItems": 1, "items": {"type": "string", "enum": list(SCOPES)},
            "description": "some of those of the key that asks; default: all but admin",
        },
        "expires_at": {
            "type": "number", "exclusiveMinimum": 0, "maximum": LATEST,
            "description": "seconds since 1970; default: never",
        },
        "signing": {"type": "boolean", "description": "take tokens signed as Kling's clients do"},
    },
    "rotation": {
        "overlap": {
            "type": "number", "minimum": 0, "maximum": LONGEST_OVERLAP,
            "description": "seconds for which the old key is good as well; default: 0",
        },
    },
    "webhook": {
        "url": {
            "type": "string", "format": "uri", "pattern": "^https://", "maxLength": MAX_URL_CHARS,
            "description": "https, and not a private address",
        },
    },
    "application": {
        "contact": {
            "type": "string", "minLength": 3, "maxLength": 320,
            "description": "where you can be reached",
        },
        "note": {"type": "string", "maxLength": NOTE_CHARS, "description": "what you want it for"},
    },
    "redemption": {
        "code": {"type": "string", "minLength": 1, "maxLength": MAX_CODE_CHARS},
        "name": {**_NAME, "description": "the name of the account"},
    },
}  # fmt: skip


def route(summary: str, model: type[BaseModel], *statuses: int, done: int = 200) -> dict[str, Any]:
    """Return what describes a route: what it answers, and its refusals besides the usual ones."""
    answers = refusals(*statuses)
    answers[done] = {"model": model, "description": "done"}
    return {
        "summary": summary, "response_model": None, "status_code": done, "responses": answers,
    }  # fmt: skip


def taking(
    body: str, summary: str, model: type[BaseModel], *statuses: int, required: tuple[str, ...] = (),
    done: int = 200,
) -> dict[str, Any]:  # fmt: skip
    """Return what describes a route that takes a body of some fields; see `FIELDS`."""
    schema = {
        "type": "object", "properties": FIELDS[body], "required": list(required),
        "additionalProperties": False,
    }  # fmt: skip
    content = {"application/json": {"schema": schema}}
    extra = {"requestBody": {"required": bool(required), "content": content}}
    return {
        **route(summary, model, 413, 415, *statuses, done=done),
        "openapi_extra": extra,
    }
