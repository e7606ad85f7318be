"""How often somebody may ask: token buckets, one for submissions and one for everything else.

A bucket holds a minute's worth of requests and fills evenly. It is kept as one number, the time
at which it is full again (the generic cell rate algorithm of ATM Forum TM 4.0), so that a full
bucket needs no memory. Buckets live in one process: where several serve the same clients, each
allows the whole rate.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from kineograph.serve.refusals import TooMany

SUBMISSIONS, REQUESTS = "submissions", "requests"  # what is counted
MINUTE = 60.0
ROOM = 100_000  # buckets that are remembered
_TINY = 1e-6  # of a request: what rounding may add up to


@dataclass(frozen=True)
class Rate:
    """Where somebody stands: how many are allowed a minute, and how many are left at once."""

    limit: int
    remaining: int
    reset: float  # seconds until the bucket is full again

    def headers(self) -> dict[str, str]:
        """Return the headers that tell it; the reset in whole seconds, rounded up."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(math.ceil(self.reset - _TINY)),
        }


class TooFast(TooMany):
    """More requests a minute than are allowed; `rate` says where the sender stands."""

    def __init__(self, message: str, *, retry_after: float, rate: Rate) -> None:
        super().__init__(message, retry_after=retry_after)
        self.rate = rate


class Rates:
    """The buckets of a process; any thread may take from them.

    At most `room` are remembered. Full ones are forgotten first; where there are still too many,
    the one that was asked least recently is, and counts as full.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, room: int = ROOM) -> None:
        self._clock, self._room = clock, room
        self._full_at: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, who: str, kind: str, per_minute: int) -> Rate:
        """Take one request of somebody (a key, an account, an address) out of its bucket.

        Raises:
            TooFast: the bucket is empty; it costs nothing to have asked.
        """
        interval = MINUTE / per_minute
        with self._lock:
            now = self._clock()
            full_at = max(self._full_at.get((who, kind), now), now) + interval
            over = full_at - now - MINUTE
            if over <= interval * _TINY:
                self._full_at[who, kind] = full_at
                self._full_at.move_to_end((who, kind))
                self._forget(now)
                return _rate(full_at - now, per_minute)
        raise TooFast(
            f"{per_minute} {kind} a minute are allowed; the next one is in {over:.1f} s",
            retry_after=over, rate=_rate(full_at - interval - now, per_minute),
        )  # fmt: skip

    def _forget(self, now: float) -> None:
        while self._full_at:
            first = next(iter(self._full_at))
            if self._full_at[first] > now and len(self._full_at) <= self._room:
                return
            del self._full_at[first]

    def __len__(self) -> int:
        return len(self._full_at)


def _rate(empty: float, per_minute: int) -> Rate:
    """Return the standing of a bucket that needs `empty` seconds to be full."""
    left = (MINUTE - empty) * per_minute / MINUTE
    return Rate(per_minute, max(math.floor(left + _TINY), 0), empty)
