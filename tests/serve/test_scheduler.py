import random

import pytest

from kineograph.serve.scheduler import (
    MOST_TAKEN,
    Standing,
    priority,
    standings,
    stretch_of,
    stretches,
    virtual_finish,
)
from kineograph.serve.settings import TIERS, Tier

FREE, MEMBER = TIERS["free"], TIERS["member"]


class Line:
    """One worker and a queue in its order, in the time of the simulation."""

    def __init__(self):
        self.finish, self.waiting, self.done, self.now = {}, [], [], 0.0

    def submit(self, account, tier, cost=10.0):
        self.finish[account] = virtual_finish(self.now, self.finish.get(account, 0.0), cost, tier)
        self.waiting.append((priority(self.finish[account], tier), len(self.waiting), account))
        self.costs = getattr(self, "costs", {}) | {account: cost}

    def serve(self):
        self.waiting.sort()
        _, _, account = self.waiting.pop(0)
        self.now += self.costs[account]
        self.done.append(account)
        return account


def test_a_burst_lies_behind_itself_and_not_before_others():
    line = Line()
    for _ in range(100):
        line.submit("greedy", FREE)
    line.now = 5.0
    line.submit("modest", FREE)
    assert [line.serve() for _ in range(3)] == ["greedy", "modest", "greedy"]


def test_accounts_that_always_wait_share_by_their_weights():
    line = Line()
    heavy = Tier(weight=3.0)
    for _ in range(400):
        line.submit("light", FREE)
        line.submit("heavy", heavy)
    for _ in range(400):
        line.serve()
    assert 2.9 < line.done.count("heavy") / line.done.count("light") < 3.1


def test_members_go_first():
    line = Line()
    for i in range(50):
        line.submit(f"free{i}", FREE)
    line.now = 60.0
    line.submit("member", MEMBER)
    assert line.serve() == "member"


def test_no_free_job_starves_under_an_endless_stream_of_members():
    line, waited = Line(), None
    line.submit("free", FREE)
    for i in range(2000):  # each time that a job ends another member is there
        line.submit(f"member{i}", MEMBER)
        if line.serve() == "free":
            waited = line.now
            break
    assert waited is not None
    assert waited <= MEMBER.boost + 2 * 10.0


def test_what_is_owed_is_forgotten_once_time_has_caught_up():
    assert virtual_finish(100.0, 40.0, 8.0, FREE) == 108.0
    assert virtual_finish(100.0, 140.0, 8.0, FREE) == 148.0
    assert virtual_finish(100.0, 140.0, 8.0, MEMBER) == 142.0


def test_standings_are_those_of_a_simulation():
    random.seed(3)
    running = [("r0", 7.0), ("r1", 3.0)]
    waiting = [(f"w{i}", random.uniform(1, 9)) for i in range(20)]
    found = standings(running, waiting, 3)
    ends = [7.0, 3.0, 0.0]
    for i, (id, cost) in enumerate(waiting):
        first = min(range(3), key=lambda j: ends[j])
        assert found[id] == Standing(i + 1, ends[first], ends[first] + cost)
        ends[first] += cost


@pytest.mark.parametrize("workers", [0, 1])
def test_with_no_worker_the_times_are_those_of_one(workers):
    found = standings([], [("a", 2.0), ("b", 3.0)], workers)
    assert found == {"a": Standing(1, 0.0, 2.0), "b": Standing(2, 2.0, 5.0)}


def test_a_worker_that_holds_two_jobs_does_them_one_after_the_other():
    found = standings([("free", 5.0), ("urgent", 2.0)], [("next", 1.0)], 1)
    assert found["urgent"].ends_in == 7.0
    assert found["next"] == Standing(1, 7.0, 8.0)


def test_those_who_will_come_and_go_first_make_the_others_times_longer():
    known = stretches([(0, 12.0), (1, 20.0), (1, 10.0)], 60.0, 1)
    assert known == [(1, 2.0), (0, pytest.approx(1 / 0.3))]
    assert stretch_of(0, known) == 2.0
    assert stretch_of(1, known) == stretch_of(0, []) == 1.0
    assert stretches([(1, 30.0)], 60.0, 3) == [(1, pytest.approx(1.2))]
    rush = stretches([(1, 600.0)], 60.0, 1)
    assert stretch_of(0, rush) == pytest.approx(1 / (1 - MOST_TAKEN))
    assert Standing(3, 4.0, 6.0).stretched(2.0) == Standing(3, 8.0, 12.0)


def test_the_stretch_is_what_a_simulation_finds():
    random.seed(5)
    horizon, share, cost = 200_000.0, 0.3, 2.0
    at, comes = 0.0, []
    while at < horizon:  # members of whom each takes the worker at once
        at += random.expovariate(share / cost)
        comes.append((at, random.expovariate(1 / cost)))
    [(_, by)] = stretches([(1, c) for _, c in comes], horizon, 1)
    assert by == pytest.approx(1 / (1 - share), rel=0.05)
    done, work, now = [], 50.0, 0.0
    ahead = iter(comes)
    due, takes = next(ahead)
    while now < 0.9 * horizon:  # jobs of 50 s, one after the other, each interrupted as they come
        begun, left = now, work
        while now + left > due:
            left -= max(due - now, 0.0)
            now = max(now, due) + takes
            due, takes = next(ahead)
        now += left
        done.append(now - begun)
    assert sum(done) / len(done) == pytest.approx(by * work, rel=0.05)
