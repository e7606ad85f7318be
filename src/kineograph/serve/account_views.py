"""What an account's owner is shown of it: limits, credits, keys, webhooks. No secrets are here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from kineograph.serve.access import Identity, NewKey
from kineograph.serve.database import total
from kineograph.serve.outbox import WAITING
from kineograph.serve.settings import MICRO, Settings
from kineograph.serve.store import DAY
from kineograph.serve.tables import CANCELLED, FAILED, IN_HAND, ledger, videos
from kineograph.serve.webhooks import NewEndpoint


def account_view(
    connection: Connection, who: Identity, settings: Settings, now: float
) -> dict[str, Any]:
    """Return an account: its tier with the limits, its credits, and what it uses of them now."""
    mine = videos.c.account_id == who.account_id
    in_hand = connection.scalar(
        select(func.count()).select_from(videos).where(mine, videos.c.state.in_(IN_HAND))
    )
    held = connection.scalar(
        select(total(videos.c.reserved)).where(mine, videos.c.state.in_(IN_HAND))
    )
    spent = connection.scalar(
        select(func.sum(videos.c.seconds))
        .where(mine, videos.c.created_at > now - DAY)
        .where(videos.c.state.not_in((FAILED, CANCELLED)))
    )  # fmt: skip
    tier = settings.tier(who.tier)
    limits = asdict(tier)
    return {
        "id": who.account_id,
        "object": "account",
        "name": who.account["name"],
        "created_at": int(who.account["created_at"]),
        "tier": {"name": who.tier, **limits},
        "balance": who.account["balance"] / MICRO,
        "reserved": (held or 0) / MICRO,
        "in_hand": in_hand or 0,
        "seconds_today": round(spent or 0.0, 3),
        "key": {"id": who.key_id, "scopes": sorted(who.scopes)},
    }


def ledger_page(
    connection: Connection, account_id: str, *, after: int | None, limit: int
) -> dict[str, Any]:
    """Return a page of an account's ledger, the newest first; `after` is the id of the last."""
    query = select(ledger).where(ledger.c.account_id == account_id)
    if after is not None:
        query = query.where(ledger.c.id < after)
    query = query.order_by(ledger.c.id.desc()).limit(limit + 1)
    rows = connection.execute(query).mappings().all()
    return listed([_entry(row) for row in rows[:limit]], len(rows) > limit)


def _entry(row: RowMapping) -> dict[str, Any]:
    return {
        "id": row["id"],
        "object": "ledger.entry",
        "kind": row["kind"],
        "amount": row["amount"] / MICRO,
        "balance": row["balance"] / MICRO,
        "video_id": row["video_id"],
        "note": row["note"],
        "created_at": int(row["created_at"]),
    }


def listed(data: Sequence[Mapping[str, Any]], more: bool = False) -> dict[str, Any]:
    """Return a list as all of them are answered, with the ids that lead to the next page."""
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }


def key_view(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return a key as its owner sees it later: without its token."""
    times = ("created_at", "expires_at", "used_at", "revoked_at")
    return {
        "id": key["id"],
        "object": "key",
        "name": key["name"],
        "scopes": key["scopes"],
        "signing": key["signing"],
        **{name: _whole(key[name]) for name in times},
    }


def new_key_view(new: NewKey, *, signing: bool, now: float) -> dict[str, Any]:
    """Return a key that was just made, with its token, and both keys of signed tokens."""
    view: dict[str, Any] = {
        "id": new.id,
        "object": "key",
        "name": new.name,
        "scopes": list(new.scopes),
        "signing": signing,
        "created_at": int(now),
        "expires_at": _whole(new.expires_at),
        "token": new.token,
    }
    if signing:
        view |= {"access_key": new.id, "secret_key": new.secret}
    return view


def endpoint_view(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an endpoint as its owner sees it later: without its secret."""
    return {
        "id": row["id"],
        "object": "webhook",
        "url": row["url"],
        "created_at": int(row["created_at"]),
        "disabled_at": _whole(row["disabled_at"]),
        "both_secrets_until": _whole(row["before_until"]),
    }


def new_endpoint_view(new: NewEndpoint) -> dict[str, Any]:
    """Return an endpoint that was just made or rotated, with its secret."""
    return {"id": new.id, "object": "webhook", "url": new.url, "secret": new.secret}


def delivery_view(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what became of an announcement."""
    waits = row["state"] == WAITING
    return {
        "id": row["id"],
        "object": "webhook.delivery",
        "webhook_id": row["endpoint_id"],
        "url": row["url"],
        "video_id": row["video_id"],
        "type": row["type"],
        "state": row["state"],
        "attempts": row["attempts"],
        "answer": row["answer"],
        "body": row["body"],
        "created_at": int(row["created_at"]),
        "next_at": int(row["next_at"]) if waits else None,
    }


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)
