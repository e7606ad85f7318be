"""Who goes next: one number a job, its virtual finish time, and what follows from it.

Weighted fair queueing over accounts (Demers, Keshav and Shenker, SIGCOMM 1989) with times that
never change once they are given: a job's tag is when an account of its weight would have it
finished, had it the worker to itself. Tags grow with real time, so that a job that waits is
passed by no more than the boost of those that come later, and nobody starves.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapreplace
from typing import NamedTuple

from kineograph.serve.settings import Tier


def virtual_finish(now: float, last: float, cost: float, tier: Tier) -> float:
    """Return the virtual time, in seconds since 1970, at which a job of an account is finished.

    `last` is that of the account's job before: what one account sends in a burst lies behind
    each other, and not before others'. `cost` is in seconds of a worker.
    """
    return max(now, last) + cost / tier.weight


def priority(finish: float, tier: Tier) -> float:
    """Return what the queue is ordered by, the lowest first."""
    return finish - tier.boost


class Standing(NamedTuple):
    """Where a job stands: how many wait before it, and in how many seconds it is done."""

    position: int  # 0 while it runs
    starts_in: float
    ends_in: float


def standings(
    running: Sequence[tuple[str, float]], waiting: Sequence[tuple[str, float]], workers: int
) -> dict[str, Standing]:
    """Return the standing of every job, by id.

    Both lists hold ids and the seconds of a worker that each still needs; those that wait are in
    the queue's order. With no worker there the times are those that one would need.
    """
    free = [0.0] * max(workers, 1)
    found = {}
    for id, left in running:  # more than workers: one is held for another that is about to yield
        found[id] = Standing(0, 0.0, free[0] + left)
        heapreplace(free, free[0] + left)
    for i, (id, cost) in enumerate(waiting):
        start = free[0]
        heapreplace(free, start + cost)
        found[id] = Standing(i + 1, start, start + cost)
    return found
