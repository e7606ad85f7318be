"""The tables of the service, in SQLAlchemy's terms: the same on SQLite and PostgreSQL.

Times are seconds since 1970 (UTC) as floats, money is whole micro-credits, JSON is text. What a
row means is said beside it; who may change a video's row, and when, is said in `store`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DefaultClause,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# The states of a video. Those in hand may still cost something; those that are over never change
# but to be deleted.
QUEUED, RUNNING, PAUSED = "queued", "running", "paused"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
IN_HAND = (QUEUED, RUNNING, PAUSED)
OVER = (COMPLETED, FAILED, CANCELLED)

metadata = MetaData()

# A number that grows by itself: SQLite knows that of INTEGER alone.
_BIG_ID = BigInteger().with_variant(Integer, "sqlite")

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("tier", String(40), nullable=False),
    Column("balance", BigInteger, nullable=False, server_default="0"),  # what may be spent
    Column("finish", Float, nullable=False, server_default="0"),  # virtual time of its last job
    Column("created_at", Float, nullable=False),
    Column("disabled_at", Float),
    CheckConstraint("balance >= 0", name="balance_not_negative"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(40), primary_key=True),  # what a token names in clear
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("hash", String(64), nullable=False),  # SHA-256 of the secret part, in hex
    Column("sealed", LargeBinary),  # the secret, encrypted, where signed tokens are to be checked
    Column("scopes", String(200), nullable=False),  # words with spaces between them
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("used_at", Float),
    Column("revoked_at", Float),
)

videos = Table(
    "videos",
    metadata,
    Column("number", _BIG_ID, primary_key=True, autoincrement=True),  # order of arrival
    Column("id", String(40), nullable=False, unique=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("key_id", String(40)),
    Column("dialect", String(20), nullable=False),  # openai or kling
    Column("kind", String(20), nullable=False),  # create, remix, edit, extend or a Kling task
    Column("model", String(200), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("request", Text, nullable=False),  # JSON of the GenerationRequest, seed chosen
    Column("inputs", Text, nullable=False),  # JSON: name in the request to storage key
    Column("told", Text, nullable=False),  # JSON: what the views need besides
    Column("seconds", Float, nullable=False),  # that the clip lasts
    Column("remixed_from", String(40)),
    Column("external_id", String(200)),
    Column("callback_url", Text),
    # The queue.
    Column("state", String(20), nullable=False),
    Column("wanted", String(20)),  # cancel or pause, asked of a running video
    Column("rank", Integer, nullable=False),  # of its tier: a higher one interrupts a lower one
    Column("priority", Float, nullable=False),  # virtual finish time: the lowest goes first
    Column("fence", Integer, nullable=False, server_default="0"),  # counts the claims
    Column("worker_id", String(40)),
    # Since its state last moved on: how often it failed, and how often its worker was lost.
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("not_before", Float, nullable=False, server_default="0"),
    # How far it is.
    Column("stage", String(20), nullable=False, server_default="queued"),
    Column("steps_done", Integer, nullable=False, server_default="0"),
    Column("steps", Integer, nullable=False, server_default="0"),
    Column("progress", Float, nullable=False, server_default="0"),  # 0 to 1
    Column("checkpoint", String(300)),  # storage key of the sampler's state
    Column("kept", Integer, nullable=False, server_default="-1"),  # the step that it is after
    Column("preview", String(300)),  # storage key of the newest preview picture
    Column("output", String(300)),  # storage key of the finished video
    Column("thumbnail", String(300)),
    Column("spritesheet", String(300)),
    Column("error_code", String(60)),
    Column("error", Text),
    # Times and money.
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("completed_at", Float),
    Column("expires_at", Float),  # when the files go
    Column("deleted_at", Float),
    Column("told_start_at", Float),  # when it was to begin, as it was told when it came in
    Column("told_end_at", Float),
    Column("cost_seconds", Float, nullable=False),  # of a worker, as estimated
    Column("used_seconds", Float, nullable=False, server_default="0"),  # of workers, so far
    Column("reserved", BigInteger, nullable=False, server_default="0"),  # micro-credits
    Column("charged", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("account_id", "external_id", name="external_id_once"),
)
# A row of it, as it was read or as it is written.
VideoRow = Mapping[Any, Any]
# What the database fills in of a new video's row.
NEW_VIDEO: dict[str, Any] = {
    c.name: c.type.python_type(c.server_default.arg)
    if isinstance(c.server_default, DefaultClause)
    else None
    for c in videos.columns
}
Index("videos_waiting", videos.c.priority, videos.c.number, sqlite_where=text("state = 'queued'"),
      postgresql_where=text("state = 'queued'"))  # fmt: skip
Index("videos_of_account", videos.c.account_id, videos.c.number)
Index("videos_by_state", videos.c.state, videos.c.account_id)

workers = Table(
    "workers",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("host", String(200), nullable=False),
    Column("boot", String(80), nullable=False),  # of the host, its space of pids, and its start
    Column("pid", Integer, nullable=False),
    Column("models", Text, nullable=False),  # JSON list; empty: all that the service offers
    Column("started_at", Float, nullable=False),
    Column("beat", Integer, nullable=False, server_default="0"),  # counts: no clock is compared
    Column("beaten_at", Float, nullable=False),
    Column("draining", Boolean, nullable=False, server_default="0"),
    Column("video_id", String(40)),
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", _BIG_ID, primary_key=True, autoincrement=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("video_id", String(40), index=True),
    Column("kind", String(20), nullable=False),  # grant, reserve, settle or refund
    Column("amount", BigInteger, nullable=False),  # of the change of the balance
    Column("balance", BigInteger, nullable=False),  # after it
    Column("note", Text, nullable=False),
    Column("created_at", Float, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("video_id", String(40)),  # what the first request made; none while it is in hand
    Column("created_at", Float, nullable=False),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # the signing secret, encrypted
    Column("sealed_before", LargeBinary),  # the one before it, which signs too until then
    Column("before_until", Float),
    Column("created_at", Float, nullable=False),
    Column("disabled_at", Float),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(40), primary_key=True),  # the webhook-id
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("endpoint_id", String(40)),  # none: to the video's own callback_url
    Column("url", Text, nullable=False),
    Column("video_id", String(40), index=True),
    Column("type", String(60), nullable=False),
    Column("body", Text),  # what is sent; written when it is sent for the first time
    Column("state", String(20), nullable=False),  # waiting, delivered or given_up
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", Float, nullable=False),
    Column("answer", Text),  # the last status or error
    Column("created_at", Float, nullable=False),
)
Index("deliveries_waiting", deliveries.c.state, deliveries.c.next_at)

invitations = Table(
    "invitations",
    metadata,
    Column("hash", String(64), primary_key=True),  # SHA-256 of the code, in hex
    Column("tier", String(40), nullable=False),
    Column("credits", BigInteger, nullable=False, server_default="0"),
    Column("left", Integer, nullable=False),  # how many more may use it
    Column("note", Text, nullable=False, server_default=""),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
)

applications = Table(
    "applications",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("contact", String(320), nullable=False, unique=True),
    Column("note", Text, nullable=False),
    Column("state", String(20), nullable=False),  # waiting, admitted or declined
    Column("code_hash", String(64)),
    Column("created_at", Float, nullable=False),
    Column("decided_at", Float),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("storage_key", String(300), nullable=False),
    Column("kind", String(20), nullable=False),  # image or video
    Column("told", Text, nullable=False),  # JSON: width, height, frames, fps, seconds
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
)

# One row a name: what all processes of the service share (the queue's switch, rates of models).
settings = Table(
    "settings",
    metadata,
    Column("name", String(60), primary_key=True),
    Column("value", Text, nullable=False),
)
