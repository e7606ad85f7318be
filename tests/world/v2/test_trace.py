"""Each primitive's hit against what its inside is: no ray passes through, none stops short."""

import numpy as np
import pytest
import torch

from kineograph.world.v2.laws import _depth
from kineograph.world.v2.trace import FAMILY, FAR, KINDS, MEET, PROFILE

RAYS = 4000


@pytest.fixture(scope="module")
def rays():
    rng = np.random.default_rng(0)
    towards = rng.uniform(-1.1, 1.1, (RAYS, 3))
    start = rng.normal(size=(RAYS, 3))
    start = start / np.linalg.norm(start, axis=1, keepdims=True) * rng.uniform(2.2, 5, (RAYS, 1))
    d = towards - start
    return start, d / np.linalg.norm(d, axis=1, keepdims=True)


def meet(kind, start, d):
    o, e = (tuple(torch.from_numpy(a.T[:, None].copy())) for a in (start, d))
    profile = torch.tensor(PROFILE[kind], dtype=torch.float64)[None]
    hit = MEET[FAMILY[kind]](o, e, profile)
    return hit.t[0].numpy(), np.stack([n.expand(1, len(d))[0].numpy() for n in hit.normal], -1)


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_rays_stop_where_the_inside_begins(kind, rays):
    start, d = rays
    t, normal = meet(kind, start, d)
    hit = t < FAR / 2
    assert 0.1 < hit.mean() < 0.99
    one = np.ones(3)
    tolerance = 0.008 if KINDS[kind] == "torus" else 1e-6
    at = start[hit] + t[hit, None] * d[hit]
    assert np.abs(_depth(kind, at, one)).max() < tolerance
    # Before a hit, and anywhere along a miss, nothing is deep inside.
    share = np.linspace(0, 1, 300)[:-1]
    before = start[hit, None] + (t[hit, None] * share)[..., None] * d[hit, None]
    assert _depth(kind, before, one).max() < tolerance
    along = start[~hit, None] + (7 * share)[:, None] * d[~hit, None]
    passed = (_depth(kind, along, one).max(1) > 0.02).mean()
    assert passed < (0.005 if KINDS[kind] == "torus" else 1e-9)  # a torus is marched to
    # Normals look at where the ray comes from, and just under the surface it is inside.
    n = normal[hit] / np.linalg.norm(normal[hit], axis=1, keepdims=True)
    facing = (n * d[hit]).sum(1)
    assert (facing < 0.05).mean() > (0.995 if KINDS[kind] == "torus" else 1 - 1e-9)
    under = at - 0.02 * n
    assert (_depth(kind, under, one) > 0).mean() > 0.97
