"""Analytic ray casting of scenes: one branch-free kernel, eager or under `torch.compile`.

Letters: f frames (clips x times), p pixels, n objects. Every quantity is a `[f, p]` tensor or
broadcasts to one, so that the compiled kernel is a single fused loop over samples. Colours live
in display space: what the shading computes is what the file shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kineograph.world.camera import HALF_FOV, camera_track
from kineograph.world.physics import HALF_HEIGHT, scene_random, simulate
from kineograph.world.scene import FLOORS, MATERIALS, SHAPES, Scene

FAR = 1e9

COLOUR_RGB = {
    "red": (0.88, 0.07, 0.06),
    "orange": (1.0, 0.47, 0.03),
    "yellow": (1.0, 0.88, 0.06),
    "green": (0.07, 0.66, 0.13),
    "cyan": (0.05, 0.80, 0.85),
    "blue": (0.09, 0.20, 0.92),
    "purple": (0.47, 0.09, 0.74),
    "pink": (1.0, 0.45, 0.70),
    "white": (0.96, 0.96, 0.96),
    "black": (0.05, 0.05, 0.06),
}
# Two tints a floor pattern mixes.
FLOOR_RGB = {
    "checkered": ((0.26, 0.26, 0.28), (0.82, 0.82, 0.80)),
    "tiled": ((0.70, 0.72, 0.74), (0.38, 0.42, 0.46)),
    "wooden": ((0.60, 0.40, 0.24), (0.40, 0.25, 0.14)),
    "grassy": ((0.30, 0.46, 0.20), (0.18, 0.32, 0.12)),
    "sandy": ((0.82, 0.71, 0.50), (0.66, 0.54, 0.36)),
    "plain": ((0.60, 0.59, 0.58), (0.60, 0.59, 0.58)),
}


@dataclass(frozen=True)
class SkyLight:
    """Colours of one time of day, and where its light comes from."""

    horizon: tuple[float, float, float]
    zenith: tuple[float, float, float]
    light: tuple[float, float, float]
    hills: tuple[float, float, float]
    sun: tuple[float, float, float]  # direction to the light, not normalised


SKY_LIGHT = {
    "dawn": SkyLight(
        (0.98, 0.80, 0.76), (0.56, 0.66, 0.86), (0.92, 0.86, 0.94), (0.52, 0.46, 0.56),
        (-0.75, 0.55, 0.45),
    ),
    "noon": SkyLight(
        (0.80, 0.90, 1.00), (0.35, 0.60, 0.95), (1.0, 1.0, 1.0), (0.42, 0.55, 0.56),
        (0.35, 0.90, 0.40),
    ),
    "sunset": SkyLight(
        (1.00, 0.60, 0.30), (0.46, 0.30, 0.50), (1.0, 0.82, 0.66), (0.42, 0.22, 0.26),
        (0.80, 0.48, 0.42),
    ),
    "night": SkyLight(
        (0.15, 0.17, 0.31), (0.02, 0.03, 0.09), (0.48, 0.53, 0.70), (0.05, 0.06, 0.12),
        (0.30, 0.85, 0.45),
    ),
}  # fmt: skip

# Sub-pixel offsets of the four samples, and how far each tilts the sun: soft penumbrae for free.
SAMPLES = ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))
SUN_JITTER = ((-0.03, -0.03), (0.03, -0.03), (-0.03, 0.03), (0.03, 0.03))

Vec = list[Tensor]


@dataclass(frozen=True)
class FrameBatch:
    """Scenes as numbers, one row a frame; every tensor is float32."""

    centre: Float[Tensor, "f n 3"]
    matrix: Float[Tensor, "f n 9"]  # world from local, row by row
    shape: Float[Tensor, "f n 3"]  # kind, radius, material
    colour: Float[Tensor, "f n 6"]  # base, stripe
    camera: Float[Tensor, "f 12"]  # position, right, up, forward
    light: Float[Tensor, "f 18"]  # horizon, zenith, light, hills, sun, hill phases
    floor: Float[Tensor, "f 9"]  # kind, two tints, offset x and z

    def tensors(self) -> tuple[Tensor, ...]:
        return (
            self.centre, self.matrix, self.shape, self.colour, self.camera, self.light, self.floor,
        )  # fmt: skip


def _stripe(rgb: tuple[float, float, float]) -> tuple[float, ...]:
    dark = sum(rgb) < 0.6
    return tuple(c * 0.25 + 0.50 if dark else c * 0.42 for c in rgb)


def _rotation(roll: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Return `t 9`: Rz(roll) @ Ry(yaw), row by row."""
    c, s, cy, sy = np.cos(roll), np.sin(roll), np.cos(yaw), np.sin(yaw)
    zero = np.zeros_like(c)
    return np.stack([c * cy, -s, c * sy, s * cy, c, s * sy, -sy, zero, cy], -1)


def pack(scenes: Sequence[Scene], times: np.ndarray) -> FrameBatch:
    """Turn scenes with the same number of objects into per-frame numbers."""
    rows: list[list[np.ndarray]] = []
    t = len(times)
    for scene in scenes:
        tracks, camera = simulate(scene, times), camera_track(scene, times)
        sky, rng = SKY_LIGHT[scene.sky], scene_random(scene, "look")
        n = len(tracks)
        shape, colour = np.zeros((t, n, 3)), np.zeros((t, n, 6))
        for i, (obj, track) in enumerate(zip(scene.objects, tracks, strict=True)):
            shape[:, i] = SHAPES.index(obj.shape), track.radius, MATERIALS.index(obj.material)
            rgb = COLOUR_RGB[obj.colour]
            colour[:, i] = (*rgb, *(_stripe(rgb) if obj.material == "striped" else rgb))
        sun = np.array(sky.sun) + [rng.uniform(-0.12, 0.12), 0.0, rng.uniform(-0.12, 0.12)]
        sun = sun / np.linalg.norm(sun)
        phases = [rng.uniform(0, 2 * math.pi) for _ in range(3)]
        light = np.array([*sky.horizon, *sky.zenith, *sky.light, *sky.hills, *sun, *phases])
        tints = FLOOR_RGB[scene.floor]
        offset = (rng.uniform(-1, 1), rng.uniform(-1, 1))
        floor = np.array([FLOORS.index(scene.floor), *tints[0], *tints[1], *offset])
        rows.append(
            [
                np.stack([k.position for k in tracks], 1),
                np.stack([_rotation(k.roll, k.yaw) for k in tracks], 1),
                shape,
                colour,
                np.concatenate([camera.position, camera.right, camera.up, camera.forward], -1),
                np.broadcast_to(light, (t, 18)),
                np.broadcast_to(floor, (t, 9)),
            ]
        )
    columns = [np.concatenate(c).astype(np.float32) for c in zip(*rows, strict=True)]
    return FrameBatch(*(torch.from_numpy(np.ascontiguousarray(c)) for c in columns))


def _hit(kind: Tensor, r: Tensor, o: Vec, d: Vec) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Intersect local rays with every kind of shape and select by `kind`.

    Returns the distance (FAR for a miss) and the local normal. Kinds are indices of SHAPES.
    """
    x, y, z = o
    dx, dy, dz = d
    ix, iy, iz = 1 / dx, 1 / dy, 1 / dz
    # Ball.
    b = x * dx + y * dy + z * dz
    q = b * b - (x * x + y * y + z * z - r * r)
    ball = torch.where((q > 0) & (b < 0), -b - q.clamp_min(0).sqrt(), FAR)
    # Cube.
    s = r * HALF_HEIGHT["cube"]
    ax, ay, az = (-s * ix.sign() - x) * ix, (-s * iy.sign() - y) * iy, (-s * iz.sign() - z) * iz
    near = torch.maximum(torch.maximum(ax, ay), az)
    ex, ey, ez = (s * ix.sign() - x) * ix, (s * iy.sign() - y) * iy, (s * iz.sign() - z) * iz
    cube = torch.where(
        (near < torch.minimum(torch.minimum(ex, ey), ez)) & (near > 1e-3), near, FAR
    )
    # Cylinder and cone share one quadric: radius(y) = r0 - k * y for |y| < h.
    cone = kind == 3
    h = 0.95 * r
    k = torch.where(cone, 0.9 / 1.9, 0.0)
    r0 = torch.where(cone, 0.45 * r, 0.72 * r)
    qa = dx * dx + dz * dz - (k * dy) ** 2
    w = r0 - k * y
    qb = x * dx + z * dz + k * dy * w
    q = qb * qb - qa * (x * x + z * z - w * w)
    side = (-qb - q.clamp_min(0).sqrt()) / qa
    ys = y + side * dy
    side = torch.where((q > 0) & (side > 1e-3) & (ys.abs() < h) & (r0 - k * ys > 0), side, FAR)
    cap = (-dy.sign() * h - y) * iy
    cx, cz, rc = x + cap * dx, z + cap * dz, r0 + k * dy.sign() * h
    on_cap = (cap > 1e-3) & (cx * cx + cz * cz < rc * rc) & (cap < side)
    solid = torch.where(on_cap, cap, side)
    # Ring: a short tube about the local z axis.
    ra = dx * dx + dy * dy + 1e-9
    rb = x * dx + y * dy
    rr = x * x + y * y
    hz, inner = 0.30 * r, 0.55 * r
    q = rb * rb - ra * (rr - r * r)
    outer_t = (-rb - q.clamp_min(0).sqrt()) / ra
    outer_t = torch.where((q > 0) & (outer_t > 1e-3) & ((z + outer_t * dz).abs() < hz), outer_t, FAR)
    q = rb * rb - ra * (rr - inner * inner)
    inner_t = (-rb + q.clamp_min(0).sqrt()) / ra
    inner_t = torch.where((q > 0) & (inner_t > 1e-3) & ((z + inner_t * dz).abs() < hz), inner_t, FAR)
    face_t = (-dz.sign() * hz - z) * iz
    fx, fy = x + face_t * dx, y + face_t * dy
    ff = fx * fx + fy * fy
    face_t = torch.where((face_t > 1e-3) & (ff < r * r) & (ff > inner * inner), face_t, FAR)
    wall = torch.minimum(outer_t, inner_t)
    ring = torch.minimum(wall, face_t)
    is_ball, is_cube, is_ring = kind == 0, kind == 1, kind == 4
    t = torch.where(is_ball, ball, torch.where(is_cube, cube, torch.where(is_ring, ring, solid)))
    px, py, pz = x + t * dx, y + t * dy, z + t * dz
    il = torch.rsqrt(px * px + pz * pz + 1e-9)
    c = torch.rsqrt(1 + k * k)
    rl = torch.rsqrt(px * px + py * py + 1e-9) * torch.where(inner_t < outer_t, -1.0, 1.0)
    on_face = face_t < wall
    nx = torch.where(is_cube, torch.where(near == ax, -dx.sign(), 0.0), torch.where(on_cap, 0.0, px * il * c))
    ny = torch.where(is_cube, torch.where(near == ay, -dy.sign(), 0.0), torch.where(on_cap, -dy.sign(), k * c))
    nz = torch.where(is_cube, torch.where(near == az, -dz.sign(), 0.0), torch.where(on_cap, 0.0, pz * il * c))
    nx = torch.where(is_ring, torch.where(on_face, 0.0, px * rl), nx)
    ny = torch.where(is_ring, torch.where(on_face, 0.0, py * rl), ny)
    nz = torch.where(is_ring, torch.where(on_face, -dz.sign(), 0.0), nz)
    ir = 1 / r
    nx, ny, nz = (torch.where(is_ball, p * ir, m) for p, m in ((px, nx), (py, ny), (pz, nz)))
    return t, nx, ny, nz


def _floor_mix(kind: Tensor, x: Tensor, z: Tensor, dist: Tensor) -> Tensor:
    """Return how much of the floor's second tint shows, with far texture faded to its mean."""
    cell = (torch.floor(x * 1.1) + torch.floor(z * 1.1)) * 0.5
    checker = (cell - torch.floor(cell)) * 2
    gx, gz = x * 1.15 - torch.floor(x * 1.15), z * 1.15 - torch.floor(z * 1.15)
    tile = torch.where((gx < 0.12) | (gz < 0.12), 1.0, 0.0)
    plank = torch.floor(z * 1.7)
    tone = torch.sin(plank * 12.9898) * 0.5 + 0.5
    seam = torch.where(z * 1.7 - plank < 0.1, 1.0, 0.0)
    grain = torch.sin(x * 2.3 + plank * 1.7) * 0.2
    wood = torch.maximum((tone * 0.75 + grain).clamp(0, 1), seam)
    patch = torch.sin(x * 2.1 + 1.3 * torch.sin(z * 1.7)) + torch.sin(z * 2.7 + 1.2 * torch.sin(x * 1.9 + 1))
    grass = (0.5 + 0.45 * patch).clamp(0, 1)
    dune = 0.5 + 0.5 * torch.sin(z * 3.6 + 1.1 * torch.sin(x * 1.3) + 0.5 * x)
    mean = torch.where(kind == 1, 0.2, 0.5)
    g = torch.where(kind == 0, checker, torch.where(kind == 1, tile, torch.where(kind == 2, wood, torch.where(kind == 3, grass, dune))))
    far = dist * dist * 0.0123  # (dist / 9 m)^2: beyond it a pattern is finer than a base pixel
    return mean + (g - mean) * torch.exp(-far * far)


def shade(
    u: Tensor, v: Tensor, jitter: Tensor, centre: Tensor, matrix: Tensor, shape: Tensor,
    colour: Tensor, camera: Tensor, light: Tensor, floor: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return colour `f 3 p` in [0, 1] and object index `f p` (0: none) of one sample a pixel."""
    n_objects = centre.shape[1]
    col = lambda a, i: a[:, i : i + 1]  # noqa: E731 - a column that broadcasts over pixels
    o = [col(camera, i) for i in range(3)]
    d = [col(camera, 9 + i) + u * col(camera, 3 + i) + v * col(camera, 6 + i) for i in range(3)]
    il = torch.rsqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
    d = [c * il + 1e-7 for c in d]

    def trace(o: Vec, d: Vec, n: int) -> tuple[Tensor, Vec, Tensor]:
        m = [matrix[:, n, i : i + 1] for i in range(9)]
        a = [o[i] - centre[:, n, i : i + 1] for i in range(3)]
        lo = [m[j] * a[0] + m[3 + j] * a[1] + m[6 + j] * a[2] for j in range(3)]
        ld = [m[j] * d[0] + m[3 + j] * d[1] + m[6 + j] * d[2] for j in range(3)]
        r = shape[:, n, 1:2]
        t, nx, ny, nz = _hit(shape[:, n, 0:1], r, lo, ld)
        stripe = torch.sin((lo[0] + t * ld[0]) / r * 6.5)
        normal = [m[3 * i] * nx + m[3 * i + 1] * ny + m[3 * i + 2] * nz for i in range(3)]
        return t, normal, stripe

    t, normal, stripe = trace(o, d, 0)
    which = torch.zeros_like(t)
    for n in range(1, n_objects):
        tn, nn, sn = trace(o, d, n)
        w = tn < t
        t = torch.minimum(t, tn)
        normal = [torch.where(w, a, b) for a, b in zip(nn, normal, strict=True)]
        stripe, which = torch.where(w, sn, stripe), torch.where(w, float(n), which)
    floor_t = torch.where(d[1] < -1e-4, -o[1] / d[1], FAR)
    on_floor = floor_t < t
    t = torch.minimum(t, floor_t)
    on_object = (~on_floor) & (t < 1e8)
    normal = [torch.where(on_floor, float(i == 1), normal[i]) for i in range(3)]
    dist = torch.where(t < 1e8, t, 1.0)
    p = [o[i] + dist * d[i] for i in range(3)]
    # Sun, with this sample's share of the penumbra.
    sun = [col(light, 12) + jitter[0], col(light, 13), col(light, 14) + jitter[1]]
    start = [p[i] + 0.012 * normal[i] for i in range(3)]
    lit, occlusion = torch.ones_like(t), torch.ones_like(t)
    for n in range(n_objects):
        toward = [s + 0 * dist for s in sun]
        lit = torch.where(trace(start, toward, n)[0] < 1e8, 0.0, lit)
        c = [centre[:, n, i : i + 1] - p[i] for i in range(3)]
        l2 = (c[0] * c[0] + c[1] * c[1] + c[2] * c[2]).clamp_min(1e-3)
        facing = (c[0] * normal[0] + c[1] * normal[1] + c[2] * normal[2]) * torch.rsqrt(l2)
        near = (shape[:, n, 1:2] ** 2 / l2).clamp_max(1.0)
        mine = on_object & (which == float(n))
        occlusion = occlusion * torch.where(mine, 1.0, 1 - 0.65 * facing.clamp_min(0) * near)
    diffuse = (normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2]).clamp_min(0) * lit
    # Mirror direction: sky above, floor below, for metal.
    dn = d[0] * normal[0] + d[1] * normal[1] + d[2] * normal[2]
    m = [d[i] - 2 * dn * normal[i] for i in range(3)]
    glint = (m[0] * sun[0] + m[1] * sun[1] + m[2] * sun[2]).clamp_min(0)
    glint = glint * glint
    glint = glint * glint
    glint = glint * glint * lit  # to the 8th power
    glint = glint * glint
    material = shape[:, 0, 2:3] + 0 * t
    for n in range(1, n_objects):
        material = torch.where(which == float(n), shape[:, n, 2:3], material)
    metal = torch.where(material == 1, 1.0, 0.0)
    mix = _floor_mix(col(floor, 0), p[0] + col(floor, 7), p[2] + col(floor, 8), dist)
    # The skyline: hills at infinity, which only turns of the camera move.
    azimuth = torch.atan2(d[0], -d[2])
    level = d[1] * torch.rsqrt(d[0] * d[0] + d[2] * d[2] + 1e-9)
    ridge = (
        0.060
        + 0.036 * torch.sin(5 * azimuth + col(light, 15))
        + 0.030 * torch.sin(8 * azimuth + col(light, 16))
        + 0.012 * torch.sin(13 * azimuth + col(light, 17))
    )
    hill = level < ridge
    haze = torch.exp(-dist * dist / 320)
    rise = (d[1] * 1.6).clamp(0, 1)
    m_rise = (m[1] * 1.6).clamp(0, 1)
    hemi = 0.44 + 0.14 * normal[1]
    out = []
    for i in range(3):
        light_i, horizon, zenith = col(light, 6 + i), col(light, i), col(light, 3 + i)
        base = colour[:, 0, i : i + 1] + 0 * t
        dark = colour[:, 0, 3 + i : 4 + i] + 0 * t
        for n in range(1, n_objects):
            mine = which == float(n)
            base = torch.where(mine, colour[:, n, i : i + 1], base)
            dark = torch.where(mine, colour[:, n, 3 + i : 4 + i], dark)
        base = torch.where(stripe > 0, dark, base)
        tint = light_i.sqrt()
        plain = base * (hemi * occlusion + 0.60 * diffuse) * tint + 0.05 * glint * light_i
        below = (col(floor, 1 + i) + col(floor, 4 + i)) * 0.42 * light_i
        mirror = torch.where(m[1] > 0, horizon + (zenith - horizon) * m_rise, below)
        shiny = base * (0.24 * hemi + 0.30 * diffuse) * tint + (0.12 + 0.42 * base) * mirror * 0.8
        shiny = shiny + 0.75 * glint * light_i
        thing = plain + (shiny - plain) * metal
        ground = col(floor, 1 + i) + (col(floor, 4 + i) - col(floor, 1 + i)) * mix
        ground = ground * (0.46 * occlusion + 0.60 * diffuse) * light_i
        ground = horizon + (ground - horizon) * haze
        sky = torch.where(hill, col(light, 9 + i), horizon + (zenith - horizon) * rise)
        out.append(torch.where(on_floor, ground, torch.where(on_object, thing, sky)).clamp(0, 1))
    return torch.stack(out, 1), torch.where(on_object, which + 1, 0.0)


@cache
def _kernel(compiled: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return the shading kernel; the compiled one needs a C++ compiler (or a GPU)."""
    return torch.compile(shade, dynamic=True) if compiled else shade


def _screen(height: int, width: int, scale: int, dx: float, dy: float) -> tuple[Tensor, Tensor]:
    """Return screen coordinates `1 p` of one sample a pixel."""
    unit = 2 * HALF_FOV / (64 * scale)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    u = (x + dx - width / 2) * unit
    v = (height / 2 - y - dy) * unit
    return u.reshape(1, -1).float(), v.reshape(1, -1).float()


@torch.no_grad()
def render_frames(
    batch: FrameBatch, height: int, width: int, *, scale: int = 1, compiled: bool = False,
    chunk_samples: int = 1 << 19,
) -> tuple[UInt8[Tensor, "f h w 3"], UInt8[Tensor, "f h w"]]:  # fmt: skip
    """Render packed frames: uint8 colours, and the index of the object at each pixel's corner."""
    kernel = _kernel(compiled)
    frames = batch.centre.shape[0]
    step = max(1, chunk_samples // (height * width))
    colours, ids = [], []
    for first in range(0, frames, step):
        part = [a[first : first + step] for a in batch.tensors()]
        total = torch.zeros(())
        index = torch.zeros(())
        for (dx, dy), tilt in zip(SAMPLES, SUN_JITTER, strict=True):
            u, v = _screen(height, width, scale, dx, dy)
            colour, index = kernel(u, v, torch.tensor(tilt), *part)
            total = total + colour
        pixels = (total * (255 / len(SAMPLES)) + 0.5).to(torch.uint8)
        colours.append(pixels.unflatten(2, (height, width)).permute(0, 2, 3, 1))
        ids.append(index.to(torch.uint8).unflatten(1, (height, width)))
    return torch.cat(colours), torch.cat(ids)


def render(
    scenes: Sequence[Scene], times: np.ndarray, height: int, width: int, *, scale: int = 1,
    compiled: bool = False,
) -> tuple[UInt8[Tensor, "b t h w 3"], UInt8[Tensor, "b t h w"]]:  # fmt: skip
    """Render scenes of any numbers of objects at the given times (s).

    `height` and `width` are in output pixels, `scale` says how many of them make a base pixel.
    """
    t = len(times)
    video = torch.empty((len(scenes), t, height, width, 3), dtype=torch.uint8)
    ids = torch.empty((len(scenes), t, height, width), dtype=torch.uint8)
    for n in sorted({len(s.objects) for s in scenes}):
        where = [i for i, s in enumerate(scenes) if len(s.objects) == n]
        batch = pack([scenes[i] for i in where], times)
        colours, index = render_frames(batch, height, width, scale=scale, compiled=compiled)
        video[where] = colours.unflatten(0, (len(where), t))
        ids[where] = index.unflatten(0, (len(where), t))
    return video, ids
