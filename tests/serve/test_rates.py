import threading

import pytest

from kineograph.serve.rates import REQUESTS, SUBMISSIONS, Rate, Rates, TooFast
from kineograph.serve.refusals import TooMany


class Clock:
    def __init__(self):
        self.now = 1e6

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_bucket_holds_a_minutes_worth_and_fills_evenly(clock):
    rates = Rates(clock)
    for left in range(9, -1, -1):
        assert rates.take("a", SUBMISSIONS, 10).remaining == left
    with pytest.raises(TooFast, match="10 submissions a minute are allowed") as caught:
        rates.take("a", SUBMISSIONS, 10)
    assert caught.value.retry_after == pytest.approx(6)
    assert caught.value.rate.remaining == 0
    assert isinstance(caught.value, TooMany)
    clock.now += caught.value.retry_after
    assert rates.take("a", SUBMISSIONS, 10).remaining == 0
    with pytest.raises(TooFast):
        rates.take("a", SUBMISSIONS, 10)
    clock.now += 60
    assert rates.take("a", SUBMISSIONS, 10).remaining == 9


def test_waiting_as_long_as_told_is_enough_at_any_rate(clock):
    for rate in (1, 7, 60, 999, 100_000, 1_000_000):
        rates = Rates(clock)
        rates._full_at["a", REQUESTS] = clock.now + 60.0  # all are taken
        for _ in range(20):
            with pytest.raises(TooFast) as told:
                rates.take("a", REQUESTS, rate)
            clock.now += told.value.retry_after
            rates.take("a", REQUESTS, rate)


def test_to_ask_in_vain_costs_nothing(clock):
    rates = Rates(clock)
    rates.take("a", REQUESTS, 1)
    for _ in range(50):
        with pytest.raises(TooFast):
            rates.take("a", REQUESTS, 1)
    clock.now += 60
    rates.take("a", REQUESTS, 1)


def test_everybody_and_everything_has_its_own(clock):
    rates = Rates(clock)
    rates.take("a", SUBMISSIONS, 1)
    rates.take("b", SUBMISSIONS, 1)
    rates.take("a", REQUESTS, 1)
    with pytest.raises(TooFast):
        rates.take("a", SUBMISSIONS, 1)


def test_a_tier_that_changes_changes_the_rate(clock):
    rates = Rates(clock)
    rates.take("a", REQUESTS, 2)
    assert rates.take("a", REQUESTS, 60).remaining == 29
    assert rates.take("a", REQUESTS, 600).limit == 600


def test_the_headers_tell_it_in_whole_numbers():
    assert Rate(10, 3, 41.2).headers() == {
        "RateLimit-Limit": "10",
        "RateLimit-Remaining": "3",
        "RateLimit-Reset": "42",
    }
    assert Rate(10, 9, 6.0).headers()["RateLimit-Reset"] == "6"


def test_the_memory_is_bounded(clock):
    rates = Rates(clock, room=100)
    for i in range(1000):
        rates.take(str(i), REQUESTS, 10)
    assert len(rates) == 100
    rates.take("900", REQUESTS, 10)
    assert rates.take("900", REQUESTS, 10).remaining == 7  # one of those that are remembered
    clock.now += 61
    rates.take("new", REQUESTS, 10)
    assert len(rates) == 1


def test_threads_take_no_more_than_there_is(clock):
    rates, got = Rates(clock), []

    def ask():
        for _ in range(100):
            try:
                rates.take("a", REQUESTS, 150)
                got.append(1)
            except TooFast:
                pass

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 150
