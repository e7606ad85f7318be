"""Figures for Prometheus: of requests, counted here, and of the store, looked up when asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import Connection, func, select

from kineograph.serve.database import total
from kineograph.serve.tables import COMPLETED, RUNNING, deliveries, ledger, videos, workers

if TYPE_CHECKING:
    from kineograph.serve.service import Service

_requests = CollectorRegistry()
_COUNT = Counter(
    "kineo_http_requests_total", "requests answered", ["method", "route", "status"],
    registry=_requests,
)  # fmt: skip
_SECONDS = Histogram(
    "kineo_http_request_seconds", "seconds until an answer began", ["route"], registry=_requests,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip
DAY = 86_400.0


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request that was answered."""
    _COUNT.labels(method, route, status).inc()
    _SECONDS.labels(route).observe(seconds)


def exposition(service: Service) -> str:
    """Return all figures in Prometheus' text format; those of the store are of one moment."""
    registry = CollectorRegistry()
    with service.database.read() as connection:
        _videos(connection, registry)
        _workers(connection, registry)
        _etas(connection, registry)
        late = connection.scalar(
            select(func.count()).select_from(deliveries).where(deliveries.c.state == "waiting")
        )
        _gauge(registry, "kineo_webhooks_waiting", "announcements to be sent", late)
        spent = connection.execute(
            select(ledger.c.kind, total(ledger.c.amount)).group_by(ledger.c.kind)
        ).all()
        credits = Gauge("kineo_credits", "sums of the ledger", ["kind"], registry=registry)
        for kind, amount in spent:
            credits.labels(kind).set(amount / 1e6)
    return (generate_latest(_requests) + generate_latest(registry)).decode()


def _gauge(registry: CollectorRegistry, name: str, help: str, value: Any) -> None:  # noqa: ANN401
    Gauge(name, help, registry=registry).set(value or 0)


def _videos(connection: Connection, registry: CollectorRegistry) -> None:
    states = Gauge("kineo_videos", "videos by state", ["state", "model"], registry=registry)
    seconds = Gauge(
        "kineo_worker_seconds", "seconds of workers spent on videos", ["model"], registry=registry
    )
    rows = connection.execute(
        select(
            videos.c.state, videos.c.model, func.count(), func.sum(videos.c.used_seconds)
        ).group_by(videos.c.state, videos.c.model)
    ).all()
    used: dict[str, float] = {}
    for state, model, count, spent in rows:
        states.labels(state, model).set(count)
        used[model] = used.get(model, 0.0) + (spent or 0.0)
    for model, spent in used.items():
        seconds.labels(model).set(spent)
    errors = Gauge("kineo_video_errors", "videos that failed", ["code"], registry=registry)
    for code, count in connection.execute(
        select(videos.c.error_code, func.count())
        .where(videos.c.state == "failed")
        .group_by(videos.c.error_code)
    ).all():
        errors.labels(code or "unknown").set(count)
    oldest = connection.scalar(
        select(func.min(videos.c.created_at)).where(videos.c.state == "queued")
    )
    age = 0.0 if oldest is None else time.time() - oldest
    _gauge(registry, "kineo_oldest_waiting_seconds", "age of the oldest that waits", age)


def _workers(connection: Connection, registry: CollectorRegistry) -> None:
    rows = connection.execute(select(workers.c.beaten_at, workers.c.draining)).all()
    running = connection.scalar(
        select(func.count()).select_from(videos).where(videos.c.state == RUNNING)
    )
    _gauge(registry, "kineo_workers", "workers that are known", len(rows))
    _gauge(registry, "kineo_workers_draining", "those that are ending", sum(r[1] for r in rows))
    _gauge(registry, "kineo_workers_busy", "videos running", running)
    age = max((time.time() - r[0] for r in rows), default=0.0)
    _gauge(registry, "kineo_worker_beat_age_seconds", "the oldest sign of life", age)


def eta_errors(connection: Connection, since: float) -> list[tuple[float, float]]:
    """Return told and real seconds from arrival to end, of videos that were finished since."""
    rows = connection.execute(
        select(videos.c.told_end_at, videos.c.created_at, videos.c.completed_at).where(
            videos.c.state == COMPLETED,
            videos.c.completed_at > since,
            videos.c.told_end_at.is_not(None),
        )
    ).all()
    return [(told - made, done - made) for told, made, done in rows]


def _etas(connection: Connection, registry: CollectorRegistry) -> None:
    pairs = eta_errors(connection, time.time() - DAY)
    ratios = sorted(abs(told - real) / max(real, 1e-3) for told, real in pairs)
    middle = ratios[len(ratios) // 2] if ratios else 0.0
    _gauge(registry, "kineo_eta_videos", "videos of a day whose end was foretold", len(ratios))
    _gauge(
        registry, "kineo_eta_error_ratio",
        "median of |told - real| over the real time to the end, of a day", middle,
    )  # fmt: skip
