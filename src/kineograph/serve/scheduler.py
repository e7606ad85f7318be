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

MOST_TAKEN = 0.8  # of the workers' time: a rush of members does not last for ever


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

    def stretched(self, by: float) -> Standing:
        """Return the same with times so many times as long."""
        return Standing(self.position, by * self.starts_in, by * self.ends_in)


def stretches(
    lately: Sequence[tuple[int, float]], seconds: float, workers: int
) -> list[tuple[int, float]]:
    """Return by how much jobs below each rank take longer for those that will come and go first.

    `lately` are rank and cost of the jobs that came within so many seconds; as many will come. A
    share s of the workers' time that others take before one makes its own 1 / (1 - s) times as
    long (a delay cycle: Conway, Maxwell and Miller, Theory of Scheduling, 1967, chapter 8). The
    highest rank is first in what is returned.
    """
    taken, found = 0.0, []
    for rank in sorted({rank for rank, _ in lately}, reverse=True):
        taken += sum(cost for of, cost in lately if of == rank) / (seconds * max(workers, 1))
        found.append((rank, 1 / (1 - min(taken, MOST_TAKEN))))
    return found


def stretch_of(rank: int, known: Sequence[tuple[int, float]]) -> float:
    """Return by how much a job of a rank takes longer, of what `stretches` returned."""
    return max((by for above, by in known if above > rank), default=1.0)


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
