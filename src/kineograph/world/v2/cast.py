"""Casting rays: from packed frames to light, block by block, with what each ray met.

A block is a tile of a frame, or any of its pixels that need more samples. For each block the
primitives that its rays, and its shadows, may meet are found by their bounding balls; then pairs
of a block and a primitive are traced, one family of solids a kernel. The kernels are the same
functions eager and under `torch.compile`. Letters: m blocks (or pairs), p rays of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kineograph.world.v2 import look
from kineograph.world.v2.kernels import kernel, put
from kineograph.world.v2.pack import Frames, mirrored
from kineograph.world.v2.scene import FLOORS
from kineograph.world.v2.trace import FAMILY, FAR, MEET, PROFILE, Vec


@dataclass(frozen=True)
class Rays:
    """Rays of blocks: the frame of each block, and where in the picture each ray goes."""

    frame: Int[Tensor, "m"]
    u: Float[Tensor, "m p"]  # tangent to the right
    v: Float[Tensor, "m p"]  # and up, both at the usual focal length
    sun_x: Float[Tensor, "m p"]  # which part of the sun's disc each ray's point looks at,
    sun_z: Float[Tensor, "m p"]  # in x and z of the direction to it


@dataclass(frozen=True)
class Cast:
    """What rays bring back."""

    light: Vec  # m p, linear
    direction: Vec
    t: Float[Tensor, "m p"]  # m, FAR for the sky
    normal: Vec  # of unit length; (0, 1, 0) for floor and sky
    owner: Float[Tensor, "m p"]  # as a `GBuffer` has it


# --- culling -----------------------------------------------------------------------------
class Pairs(NamedTuple):
    """Blocks, each with a primitive that its rays may meet; no block is there twice."""

    blocks: Int[Tensor, "n"]
    numbers: Float[Tensor, "n 20"]  # of the primitive
    profile: Float[Tensor, "n 3"]
    soft: Float[Tensor, "n 1"]
    part: Float[Tensor, "n 1"]  # its index in its frame


def _pairs(
    touch: Float[Tensor, "m k"], frames: Frames, frame: Int[Tensor, "m"], *, by_family: bool = True
) -> Iterator[tuple[int, Pairs]]:
    """Yield the pairs of a choice, a family of solids at a time (0 if that does not matter)."""
    blocks, parts = torch.nonzero(touch, as_tuple=True)
    if not len(blocks):
        return
    kinds = frames.kind[frame[blocks], parts]
    # The first of each block, then the second, and so on.
    turn = (touch.long().cumsum(1) - 1)[blocks, parts] * len(MEET)
    if by_family:
        turn += torch.tensor(FAMILY, device=kinds.device)[kinds]
    order = torch.from_numpy(np.argsort(turn.cpu().numpy().astype(np.uint16), kind="stable"))
    blocks, parts, kinds = (a[order.to(a.device)] for a in (blocks, parts, kinds))
    whose = frame[blocks]
    found = Pairs(
        blocks, frames.parts[whose, parts], torch.tensor(PROFILE, device=kinds.device)[kinds],
        frames.soft[whose, parts][:, None], parts[:, None].float(),
    )  # fmt: skip
    first = 0
    for key, count in enumerate(torch.bincount(turn).tolist()):
        if count:
            yield key % len(MEET), Pairs(*(a[first : first + count] for a in found))
            first += count


def _fewest(blocks: int, frames: Frames) -> int:
    """Return the least of what a kernel counts over: of one, the compiler makes an own kernel."""
    return min(blocks, *frames.kind.shape)


# --- the cast ----------------------------------------------------------------------------
class Met(NamedTuple):
    """What rays meet first, on their way in direction `d`; all `m p`."""

    d: Vec
    t: Tensor
    normal: Vec
    which: Tensor  # index of the primitive in its frame, or NOTHING
    point: Vec
    owner: Tensor  # SKY or FLOOR; objects are put in as they are shaded


def _trace(
    frames: Frames, rays: Rays, camera: Float[Tensor, "m 13"], compiled: bool
) -> Met:
    """Return where rays go, and what they meet first."""
    m = len(camera)
    met = Met(*kernel("begin", 0, compiled, m)(rays.u, rays.v, camera))
    touch = kernel("in_view", 0, compiled, _fewest(m, frames))(
        rays.u, rays.v, rays.frame, frames.camera, frames.parts, frames.bound, frames.kind
    )
    for family, pairs in _pairs(touch, frames, rays.frame):
        kernel("nearest", family, compiled, len(pairs.blocks))(
            pairs.blocks, met.d, camera, pairs.numbers, pairs.profile, pairs.part, met.t,
            met.normal, met.which,
        )  # fmt: skip
    blocks = torch.nonzero(touch.amax(1)).squeeze(1)
    if len(blocks):
        kernel("surface", 0, compiled, len(blocks))(
            blocks, camera, met.d, met.t, met.normal, met.which, met.point, met.owner
        )
    return met


def _sunlight(
    frames: Frames, rays: Rays, light: Float[Tensor, "m 37"], met: Met, compiled: bool
) -> tuple[Tensor, Tensor]:
    """Return how much of the sun and of the sky each point sees."""
    lit, open_ = torch.ones_like(met.t), torch.ones_like(met.t)
    dim, hide = kernel("may_shade", 0, compiled, _fewest(len(lit), frames))(
        met.point, met.t, rays.frame, light, frames.parts, frames.bound, frames.soft, frames.kind
    )
    for _, pairs in _pairs(dim, frames, rays.frame, by_family=False):
        kernel("dimmed", 0, compiled, len(pairs.blocks))(
            pairs.blocks, met.point, met.normal, met.which, pairs.numbers, pairs.soft, pairs.part,
            open_,
        )  # fmt: skip
    for family, pairs in _pairs(hide, frames, rays.frame):
        kernel("shaded", family, compiled, len(pairs.blocks))(
            pairs.blocks, met.point, met.normal, rays.sun_x, rays.sun_z, light, pairs.numbers,
            pairs.profile, lit,
        )  # fmt: skip
    return lit, open_


def first_hits(frames: Frames, rays: Rays) -> Float[Tensor, "m p"]:
    """Return the index of the primitive that each ray meets, or NOTHING; eagerly."""
    return _trace(frames, rays, frames.camera[rays.frame], compiled=False).which


def cast(frames: Frames, rays: Rays, *, compiled: bool = False, bounce: bool = True) -> Cast:
    """Return the light of every ray; without `bounce` no shadows fall and water mirrors nothing."""
    camera, numbers = frames.camera[rays.frame], frames.light[rays.frame]
    met = _trace(frames, rays, camera, compiled)
    if bounce:
        lit, open_ = _sunlight(frames, rays, numbers, met, compiled)
    else:
        lit, open_ = torch.ones_like(met.t), torch.ones_like(met.t)
    # Every ray gets the light of the sky, of the floor or of an object.
    light = (torch.empty_like(met.t), torch.empty_like(met.t), torch.empty_like(met.t))
    aloft = met.t.amax(1) > 0.5 * FAR if bounce else met.which.amin(1) < 0
    blocks = torch.nonzero(aloft).squeeze(1)
    if len(blocks):
        kernel("sky", 0, compiled, len(blocks))(blocks, met.d, numbers, light)
    if bounce:
        _add_floor(frames, rays, numbers, met, lit, open_, light, compiled)
    _add_things(frames, rays, met, lit, open_, light, compiled)
    return Cast(light, met.d, met.t, met.normal, met.owner)


def _add_floor(
    frames: Frames, rays: Rays, numbers: Tensor, met: Met, lit: Tensor, open_: Tensor, light: Vec,
    compiled: bool,
) -> None:  # fmt: skip
    """Shade the blocks that see the floor, each by its own."""
    floors, any_floor = frames.floor[rays.frame], met.owner.amax(1) > 0
    glossy = (floors == FLOORS.index("water")) | (numbers[:, look.WET] > 0)
    seen = _reflection(frames, rays, numbers, met.point, any_floor & glossy, compiled)
    for f in frames.floor.unique().tolist():
        blocks = torch.nonzero(any_floor & (floors == f)).squeeze(1)
        if len(blocks):
            kernel("ground", f, compiled, len(blocks))(
                blocks, met.point, met.d, met.t, lit, open_, met.d if seen is None else seen,
                numbers, met.owner, light,
            )  # fmt: skip


def _reflection(
    frames: Frames, rays: Rays, numbers: Float[Tensor, "m 37"], point: Vec,
    which: Bool[Tensor, "m"], compiled: bool,
) -> Vec | None:  # fmt: skip
    """Return what the floor mirrors: the scene as a camera below it sees it, bent by ripples."""
    blocks = torch.nonzero(which).squeeze(1)
    if not len(blocks):
        return None
    frame = rays.frame[blocks]
    still = torch.where(frames.floor[frame] == FLOORS.index("water"), 1.0, 0.25)[:, None]
    u, v = kernel("bend", 0, compiled, len(blocks))(
        blocks, point, numbers, still, rays.u, rays.v
    )
    below = Rays(frame, u, v, rays.sun_x[blocks], rays.sun_z[blocks])
    found = cast(mirrored(frames), below, compiled=compiled, bounce=False).light
    whole = (torch.zeros_like(rays.u), torch.zeros_like(rays.u), torch.zeros_like(rays.u))
    put(whole, blocks, found)
    return whole


def _add_things(
    frames: Frames, rays: Rays, met: Met, lit: Tensor, open_: Tensor, light: Vec, compiled: bool
) -> None:  # fmt: skip
    """Shade the rays that met an object, gathered from all blocks."""
    at = torch.nonzero((met.which >= 0).flatten()).squeeze(1)
    if not len(at):
        return
    frame = rays.frame.index_select(0, at // rays.u.shape[1])
    index = frame * frames.kind.shape[1] + met.which.view(-1).index_select(0, at).long()
    kernel("thing", 0, compiled, len(at))(
        at, index, frame, met.normal, met.d, met.t, met.point, lit, open_,
        frames.parts.flatten(0, 1), frames.light, light, met.owner,
    )  # fmt: skip
