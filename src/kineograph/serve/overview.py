"""The state of a service in one piece, as its operator's page shows it. It only reads."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, func, select, text
from sqlalchemy.engine import make_url

from kineograph import __version__
from kineograph.serve import again, ledger, schema
from kineograph.serve.database import total
from kineograph.serve.metrics import eta_errors
from kineograph.serve.refusals import Refusal
from kineograph.serve.settings import MICRO
from kineograph.serve.tables import (
    COMPLETED,
    FAILED,
    IN_HAND,
    OVER,
    QUEUED,
    RUNNING,
    accounts,
    applications,
    deliveries,
    videos,
    workers,
)
from kineograph.serve.tables import ledger as entries

if TYPE_CHECKING:
    from kineograph.serve.service import Service

DAY = 86_400.0
SHOWN_WAITING, SHOWN_FAILED = 50, 50
PROMPT_CHARS = 120


def overview(service: Service) -> dict[str, Any]:
    """Return everything that the operator's page shows, of one moment."""
    now = time.time()
    with service.database.read() as connection:
        found = {
            "now": now,
            "version": __version__,
            "held": again.is_held(connection),
            "queue": _queue(service, connection, now),
            "waiting": _waiting(service, connection, now),
            "running": _running(service, connection, now),
            "workers": _workers(connection, now),
            "failures": _failures(connection, now),
            "eta": eta_summary(eta_errors(connection, now - DAY)),
            "credits": _credits(connection, now),
            "models": _models(service, connection, now),
            "worker_cost": service.settings.worker_cost,
            "dead_after": service.settings.dead_after,
            "database": _database(service, connection),
        }
    return found | {"storage": _storage(service)}


def eta_summary(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return how far off foretold ends were: pairs of told and real seconds from arrival to end.

    The errors are shares of the real time and seconds; the bias is above 0 where it was sooner.
    """
    if not pairs:
        return {"count": 0}
    shares = sorted(abs(told - real) / max(real, 1e-3) for told, real in pairs)
    seconds = sorted(abs(told - real) for told, real in pairs)
    high = min(int(0.9 * len(pairs)), len(pairs) - 1)
    return {
        "count": len(pairs),
        "median": median(shares),
        "p90": shares[high],
        "median_seconds": median(seconds),
        "p90_seconds": seconds[high],
        "bias_seconds": median(told - real for told, real in pairs),
    }


def _queue(service: Service, connection: Connection, now: float) -> dict[str, Any]:
    """Return how many videos of each tier are in each state: those over, of a day."""
    rows = connection.execute(
        select(accounts.c.tier, videos.c.state, func.count())
        .join(accounts, accounts.c.id == videos.c.account_id)
        .where(videos.c.state.in_(IN_HAND) | (videos.c.completed_at > now - DAY))
        .group_by(accounts.c.tier, videos.c.state)
    ).all()
    tiers: dict[str, dict[str, int]] = {}
    states = dict.fromkeys((*IN_HAND, *OVER), 0)
    for tier, state, number in rows:
        tiers.setdefault(tier, dict.fromkeys(states, 0))[state] = number
        states[state] += number
    rank = {name: -tier.rank for name, tier in service.settings.tiers.items()}
    oldest = connection.scalar(
        select(func.min(videos.c.created_at)).where(videos.c.state == QUEUED)
    )
    return {
        "states": states,
        "tiers": [
            {"tier": name} | tiers[name]
            for name in sorted(tiers, key=lambda n: (rank.get(n, 0), n))
        ],
        "oldest_seconds": None if oldest is None else now - oldest,
        "left_seconds": service.board.summary()["seconds"],
    }


def _in_hand(state: str) -> Any:  # noqa: ANN401 - a Select
    return (
        select(videos, accounts.c.tier.label("tier"), accounts.c.name.label("account_name"))
        .join(accounts, accounts.c.id == videos.c.account_id)
        .where(videos.c.state == state)
        .order_by(videos.c.priority, videos.c.number)
    )


def _video(service: Service, row: Any, now: float) -> dict[str, Any]:  # noqa: ANN401 - a row
    standing = service.board.standing_of(row._mapping)
    return {
        "id": row.id,
        "account": row.account_id,
        "account_name": row.account_name,
        "tier": row.tier,
        "model": row.model,
        "prompt": row.prompt[:PROMPT_CHARS],
        "steps_done": row.steps_done,
        "steps": row.steps,
        "age_seconds": now - row.created_at,
        "position": None if standing is None else standing.position,
        "starts_in": None if standing is None else standing.starts_in,
        "ends_in": None if standing is None else standing.ends_in,
    }


def _waiting(service: Service, connection: Connection, now: float) -> list[dict[str, Any]]:
    rows = connection.execute(_in_hand(QUEUED).limit(SHOWN_WAITING)).all()
    return [
        _video(service, row, now) | {"put_off": max(row.not_before - now, 0.0),
                                     "attempts": row.attempts}
        for row in rows
    ]  # fmt: skip


def _running(service: Service, connection: Connection, now: float) -> list[dict[str, Any]]:
    rows = connection.execute(_in_hand(RUNNING)).all()
    return [
        _video(service, row, now) | {"worker": row.worker_id, "stage": row.stage,
                                     "progress": row.progress, "wanted": row.wanted}
        for row in rows
    ]  # fmt: skip


def _workers(connection: Connection, now: float) -> list[dict[str, Any]]:
    rows = connection.execute(select(workers).order_by(workers.c.host, workers.c.started_at)).all()
    return [
        {
            "id": row.id, "host": row.host, "pid": row.pid, "models": json.loads(row.models),
            "up_seconds": now - row.started_at, "beat_seconds": now - row.beaten_at,
            "draining": row.draining, "video": row.video_id,
        }
        for row in rows
    ]  # fmt: skip


def _failures(connection: Connection, now: float) -> dict[str, Any]:
    """Return what failed within a day, counted by reason, and the newest one by one."""
    of_day = (videos.c.state == FAILED, videos.c.completed_at > now - DAY)
    number = func.count()
    reasons = connection.execute(
        select(videos.c.error_code, number)
        .where(*of_day).group_by(videos.c.error_code).order_by(number.desc())
    ).all()  # fmt: skip
    rows = connection.execute(
        select(videos.c.id, videos.c.account_id, videos.c.model, videos.c.error_code,
               videos.c.error, videos.c.completed_at)
        .where(*of_day).order_by(videos.c.completed_at.desc()).limit(SHOWN_FAILED)
    ).all()  # fmt: skip
    return {
        "reasons": [{"code": code or "unknown", "count": count} for code, count in reasons],
        "newest": [
            {
                "id": row.id, "account": row.account_id, "model": row.model,
                "code": row.error_code or "unknown", "message": (row.error or "")[:300],
                "ago_seconds": now - row.completed_at,
            }
            for row in rows
        ],
    }  # fmt: skip


def _credits(connection: Connection, now: float) -> dict[str, float]:
    """Return where the credits are, and where those of a day came from and went."""
    day = {
        row.kind: row.amount
        for row in connection.execute(
            select(entries.c.kind, total(entries.c.amount).label("amount"))
            .where(entries.c.created_at > now - DAY)
            .group_by(entries.c.kind)
        )
    }
    charged = connection.scalar(
        select(total(videos.c.charged)).where(videos.c.completed_at > now - DAY)
    )
    reserved = connection.scalar(
        select(total(videos.c.reserved)).where(videos.c.state.in_(IN_HAND))
    )
    balance = connection.scalar(select(total(accounts.c.balance)))
    found = {
        "balances": balance,
        "reserved": reserved,
        "granted_today": day.get(ledger.GRANT),
        "refunded_today": day.get(ledger.REFUND),
        "charged_today": charged,
    }
    return {name: int(value or 0) / MICRO for name, value in found.items()}


def _models(service: Service, connection: Connection, now: float) -> list[dict[str, Any]]:
    """Return what a second of each model's video costs: as foretold, and as measured in a day."""
    rows: Sequence[Row[Any]] = connection.execute(
        select(videos.c.model, func.count().label("videos"),
               func.sum(videos.c.used_seconds).label("used"),
               func.sum(videos.c.seconds).label("seconds"))
        .where(videos.c.state == COMPLETED, videos.c.completed_at > now - DAY)
        .group_by(videos.c.model)
    ).all()  # fmt: skip
    made = {row.model: row for row in rows}
    cost = service.settings.worker_cost
    found = []
    for model in service.models():
        price, row = model["price"], made.get(model["id"])
        usual = price["worker_seconds_per_output_second"]
        measured = None if row is None or not row.seconds else row.used / row.seconds
        found.append({
            "id": model["id"],
            "videos_today": 0 if row is None else row.videos,
            "worker_seconds": usual,
            "measured_worker_seconds": measured,
            "credits": price["credits_per_output_second"],
            "cost": cost * (usual if measured is None else measured),
        })  # fmt: skip
    return found


def _database(service: Service, connection: Connection) -> dict[str, Any]:
    """Return what is known of the database: no password, how large, how quick."""
    begun = time.perf_counter()
    connection.execute(select(videos.c.number).limit(1)).first()
    seconds = time.perf_counter() - begun
    if service.database.kind == "sqlite":
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    else:
        query = "SELECT pg_database_size(current_database())"
    waiting = select(func.count()).select_from(deliveries).where(deliveries.c.state == "waiting")
    applying = (
        select(func.count()).select_from(applications).where(applications.c.state == "waiting")
    )
    url = make_url(service.settings.database_url())
    return {
        "kind": service.database.kind,
        "address": url.render_as_string(hide_password=True),
        "schema": schema.version_of(connection),
        "newest_schema": schema.newest(),
        "bytes": int(connection.scalar(text(query)) or 0),
        "answer_ms": round(1000 * seconds, 2),
        "webhooks_waiting": connection.scalar(waiting) or 0,
        "applications_waiting": connection.scalar(applying) or 0,
    }


def _storage(service: Service) -> dict[str, Any]:
    """Return what is known of the storage, which is asked for one file."""
    url = service.settings.storage_url()
    found: dict[str, Any] = {"address": url, "state": "ok", "free_bytes": None, "bytes": None}
    begun = time.perf_counter()
    try:
        next(iter(service.storage.names("ready")), None)
        if "://" not in url and Path(url).is_dir():
            usage = shutil.disk_usage(url)
            found |= {"free_bytes": usage.free, "bytes": usage.total}
    except (Refusal, OSError) as error:
        found["state"] = str(error)[:200]
    return found | {"answer_ms": round(1000 * (time.perf_counter() - begun), 2)}
