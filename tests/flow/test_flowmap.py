"""Mean velocities of Gaussian data, whose flow is known: a path keeps x over its deviation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kineograph.flow.flowmap import LIMIT, STEP, draw_ends, map_target
from kineograph.flow.path import expand_sigma

STD = 0.6  # of the data; noise has 1


def draw(seed: int, shape: tuple[int, ...] = (1, 3, 1, 4, 5)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def deviation(s: Tensor) -> Tensor:
    """That of the marginal at a noise level."""
    return (((1 - s) * STD) ** 2 + s**2).sqrt()


def slope(x: Tensor, sigma: Tensor) -> Tensor:
    """The limit of the mean velocity."""
    s = expand_sigma(sigma, x)
    return x * (s - (1 - s) * STD**2) / deviation(s) ** 2


def exact(x: Tensor, sigma: Tensor, to: Tensor) -> Tensor:
    """The mean velocity of the whole way."""
    s, e = expand_sigma(sigma, x), expand_sigma(to, x)
    way = torch.where(s == e, 1.0, s - e)
    return torch.where(s == e, slope(x, sigma), x * (1 - deviation(e) / deviation(s)) / way)


def levels(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def off(sigma: float, to: float, step: float = STEP) -> float:
    """How far the target of the exact mean velocity is from it, in units of x."""
    x, s, e = draw(0), levels(sigma), levels(to)
    wanted = exact(x, s, e)
    return float((map_target(exact, x, slope(x, s), s, e, step) - wanted).norm() / x.norm())


@pytest.mark.parametrize(
    ("sigma", "to", "most"),
    [
        # Central differences: of the second order in a step of 0.005.
        (0.5, 0.0, 1e-4), (0.9, 0.1, 1e-4), (0.995, 0.0, 1e-4), (0.3, 0.295, 1e-4),
        # One-sided at 1, and where the way is shorter than a step.
        (1.0, 0.0, 3e-3), (1.0, 0.5, 3e-3), (0.998, 0.2, 3e-3),
        (0.3, 0.298, 1e-4), (0.003, 0.0, 1e-4), (1.0, 0.9995, 1e-4),
    ],
)  # fmt: skip
def test_the_exact_mean_velocity_is_its_own_target(sigma, to, most):
    assert off(sigma, to) < most


def test_the_error_falls_with_the_square_of_the_step_and_at_the_end_with_the_step():
    assert off(0.7, 0.1, 0.01) / off(0.7, 0.1, 0.005) == pytest.approx(4, rel=0.02)
    assert off(1.0, 0.1, 0.01) / off(1.0, 0.1, 0.005) == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("sigma", [0.0, 0.001, 0.4, 0.999, 1.0])
def test_where_a_way_ends_at_its_beginning_the_target_is_the_slope(sigma):
    x, velocity, s = draw(0), draw(1), levels(sigma)

    def network(x: Tensor, sigma: Tensor, to: Tensor) -> Tensor:
        return torch.tanh(x) + expand_sigma(sigma, x) ** 2

    assert torch.equal(map_target(network, x, velocity, s, s), velocity)


def test_a_network_that_is_off_by_a_constant_is_told_the_truth():
    x, s, e = draw(0), levels(0.8), levels(0.2)

    def shifted(x: Tensor, sigma: Tensor, to: Tensor) -> Tensor:
        return exact(x, sigma, to) + 0.7

    found = map_target(shifted, x, slope(x, s), s, e)
    torch.testing.assert_close(found, exact(x, s, e), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("sigma", "to"), [(1.0, 0.0), (0.8, 0.2), (0.4, 0.0), (0.3, 0.25)])
def test_a_network_that_knows_slopes_alone_is_told_the_right_direction(sigma, to):
    x, s, e = draw(0), levels(sigma), levels(to)
    here = slope(x, s)
    wanted = exact(x, s, e) - here
    told = map_target(lambda x, sigma, to: slope(x, sigma), x, here, s, e) - here
    cosine = (told * wanted).sum() / (told.norm() * wanted.norm())
    assert float(cosine) > 0.99


def test_every_frame_has_a_way_of_its_own():
    x = draw(0, (2, 3, 3, 4, 5))
    s = torch.tensor([[1.0, 0.5, 0.0], [0.7, 0.7, 0.3]], dtype=torch.float64)
    e = torch.tensor([[0.0, 0.5, 0.0], [0.2, 0.6999, 0.0]], dtype=torch.float64)
    found = map_target(exact, x, slope(x, s), s, e)
    for i in range(2):
        for t in range(3):
            one = (a[i : i + 1, t : t + 1] for a in (s, e))
            alone, (sigma, to) = x[i : i + 1, :, t : t + 1], one
            wanted = map_target(exact, alone, slope(alone, sigma), sigma, to)
            torch.testing.assert_close(found[i : i + 1, :, t : t + 1], wanted)


def test_the_network_is_asked_within_0_and_1_and_never_below_the_end():
    asked = []

    def network(x: Tensor, sigma: Tensor, to: Tensor) -> Tensor:
        asked.append((sigma, to))
        return x

    x = draw(0, (1, 1, 5, 1, 1))
    s, e = levels(0.0, 0.001, 0.5, 0.5, 1.0), levels(0.0, 0.0, 0.498, 0.0, 0.0)
    map_target(network, x, x, s, e)
    (above, _), (below, _) = asked
    torch.testing.assert_close(above, levels(0.005, 0.006, 0.505, 0.505, 1.0))
    torch.testing.assert_close(below, levels(0.0, 0.0, 0.498, 0.495, 0.995))
    assert all(torch.equal(to, e) for _, to in asked)


def test_a_target_has_no_gradient():
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    x, s, e = draw(0), levels(0.8), levels(0.2)
    target = map_target(lambda x, sigma, to: weight * x, x, x, s, e)
    assert not target.requires_grad


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_ways_end_where_they_begin_in_their_share_and_evenly_below_elsewhere():
    sigma = torch.rand(20000, 3, generator=generator(1)) + 0.01
    to = draw_ends(sigma, generator(), 0.3)
    same = (to == sigma).all(1)
    assert float(same.float().mean()) == pytest.approx(0.3, abs=0.01)
    shares = (to / sigma)[~same]
    assert bool((shares >= 0).all()) and bool((shares < 1).all())
    quantiles = torch.linspace(0.1, 0.9, 9)
    torch.testing.assert_close(shares[:, 0].quantile(quantiles), quantiles, atol=0.015, rtol=0)
    # The frames of a sample go the same share of their ways.
    torch.testing.assert_close(shares, shares[:, :1].expand(-1, 3))


def test_what_is_known_has_no_way_to_go():
    sigma = torch.tensor([[0.0, 0.6], [0.0, 0.9]])
    for share in (0.0, 1.0):
        to = draw_ends(sigma, generator(), share)
        assert not to[:, 0].any() and to[:, 1].all()


def test_ends_repeat_with_their_generator_and_the_share_does_not_move_the_others():
    sigma = torch.rand(64, 2, generator=generator(1))
    one = draw_ends(sigma, generator(7), 0.5)
    assert torch.equal(one, draw_ends(sigma, generator(7), 0.5))
    assert not torch.equal(one, draw_ends(sigma, generator(8), 0.5))
    none = draw_ends(sigma, generator(7), 0.0)
    moved = (one != none).all(1)
    assert torch.equal(one[~moved], none[~moved]) and torch.equal(one[moved], sigma[moved])
    assert 10 < int(moved.sum()) < 54


def test_a_network_that_changes_wildly_bends_the_target_within_a_limit():
    x, velocity = draw(0), draw(1)
    s, e = levels(0.8), levels(0.1)

    def wild(x: Tensor, sigma: Tensor, to: Tensor) -> Tensor:
        return 1e4 * expand_sigma(sigma, x) * torch.ones_like(x)

    bend = map_target(wild, x, velocity, s, e) - velocity

    def size(y: Tensor) -> Tensor:
        return y.square().mean((1, 3, 4)).sqrt()

    torch.testing.assert_close(size(bend), LIMIT * size(x))
    assert (bend < 0).all()  # its direction stays
    free = map_target(wild, x, velocity, s, e, limit=math.inf) - velocity
    torch.testing.assert_close(free, torch.full_like(x, -0.7e4))
