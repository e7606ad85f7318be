"""The renderer as one C++ function for a processor: the same formulas, tile by tile.

The loops are written by `emit.loop` from the functions of `kernels` and `look`, `native.cpp`
calls them; what the compiler makes of both is kept in the cache folder. Sines and exponentials are
those of Sleef, which torch carries: eager and native take the same ones.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.runtime.cpp import available, lanes, library
from kineograph.world.gbuffer import FIRST_OBJECT, FLOOR
from kineograph.world.v2 import kernels, look
from kineograph.world.v2.camera import unit
from kineograph.world.v2.emit import Formula, Given, loop
from kineograph.world.v2.kernels import (
    CONTRAST,
    CROWD,
    SAMPLES,
    SHADOW_REACH,
    SUN_JITTER,
    SUN_REACH,
    TILE,
)
from kineograph.world.v2.pack import ATTRIBUTES, CENTRE, OWNER, Frames
from kineograph.world.v2.scene import FLOORS
from kineograph.world.v2.trace import FAMILY, FAR, MEET, PROFILE

PRIMITIVES = 256  # of a frame, at most
# No fused multiply-add: what is rounded twice in eager is rounded twice here.
CONTRACT = "-ffp-contract=off"
LOOPS = "// Loops stand here.\n"  # a line of native.cpp


@cache
def ready() -> bool:
    """Return whether it can be had, compiled now if need be: for who would do with eager frames."""
    try:
        _library()
    except RequestError:
        return False
    return True


# The formulas, which are run on symbols here: a `Value` for the rays of all blocks.
_formulas: Any = kernels
_ALL = None  # blocks: every one


def _three(name: str) -> tuple[str, str, str]:
    return f"{name}0", f"{name}1", f"{name}2"


D, NORMAL, POINT, LIGHT, MIRROR = map(_three, ("d", "n", "p", "l", "r"))
MET = (*D, "t", *NORMAL, "which")


def _begin(g: Given) -> dict[str, Any]:
    d, t, normal, which, point, owner = _formulas._begin(g.u, g.v, g.camera)
    names = (*D, "t", *NORMAL, "which", *POINT, "owner")
    return dict(zip(names, (*d, t, *normal, which, *point, owner), strict=True))


def _nearest(family: int, g: Given) -> None:
    _formulas._nearest(
        family, _ALL, g.d, g.camera, g.part, g.profile, g.number, g.t, g.n, g.which
    )


def _surface(g: Given) -> None:
    _formulas._surface(_ALL, g.camera, g.d, g.t, g.n, g.which, g.p, g.owner)


def _dimmed(g: Given) -> None:
    _formulas._dimmed(_ALL, g.p, g.n, g.which, g.part, g.soft, g.number, g.open_)


def _shaded(family: int, g: Given) -> None:
    _formulas._shaded(
        family, _ALL, g.p, g.n, g.sun_x, g.sun_z, g.light, g.part, g.profile, g.lit
    )


# Of a point on the floor its height is not looked at, of a direction there nothing else.
def _bend(g: Given) -> dict[str, Any]:
    u, v = _formulas._bend(_ALL, (g.p0, g.p0, g.p2), g.light, g.still, g.u, g.v)
    return {"to_u": u, "to_v": v}


def _sky(g: Given) -> dict[str, Any]:
    return dict(zip(LIGHT, look.sky(g.d, g.light), strict=True))


def _ground(floor: int, g: Given) -> None:
    _formulas._ground(
        floor, _ALL, (g.p0, g.p0, g.p2), (g.d1, g.d1, g.d1), g.t, g.lit, g.open_, g.r, g.light,
        g.owner, g.l,
    )  # fmt: skip


def _thing(g: Given) -> dict[str, Any]:
    light = kernels.thing_light(g.n, g.d, g.t, g.p, g.lit, g.open_, g.part, g.light)
    return dict(zip(LIGHT, light, strict=True))


def _film(g: Given) -> dict[str, Any]:
    return {name: look.film(value) for name, value in g.items()}


def _loops() -> str:
    """Return all loops, and tables of those that differ by family of solids or by floor."""
    families, floors = range(len(MEET)), range(len(FLOORS))
    sun, sky = ("sun_x", "sun_z", "lit"), ("lit", "open_")
    # Name, formula, arrays of rays, numbers of the block: rows, and single ones.
    loops: list[tuple[str, Formula, tuple[str, ...], str, str]] = [
        ("begin", _begin, ("u", "v"), "camera", ""),
        ("surface", _surface, (*MET, *POINT, "owner"), "camera", ""),
        ("dimmed", _dimmed, (*POINT, *NORMAL, "which", "open_"), "part", "soft number"),
        ("bend", _bend, ("u", "v", "p0", "p2"), "light", "still"),
        ("sky", _sky, D, "light", ""),
        ("thing", _thing, (*NORMAL, *D, "t", *POINT, *sky), "part light", ""),
        ("film", _film, LIGHT, "", ""),
    ]
    for k in families:
        meet, shade = partial(_nearest, k), partial(_shaded, k)
        loops.append((f"nearest_{k}", meet, MET, "camera part profile", "number"))
        loops.append((f"shaded_{k}", shade, (*POINT, *NORMAL, *sun), "light part profile", ""))
    below = ("p0", "p2", "d1", "t", *sky, *MIRROR, "owner", *LIGHT)
    loops += [(f"ground_{k}", partial(_ground, k), below, "light", "") for k in floors]
    text = [
        loop(name, formula, rays, rows.split(), single.split())
        for name, formula, rays, rows, single in loops
    ]
    for table, name, which in (
        ("NEAREST", "nearest", families), ("SHADED", "shaded", families),
        ("GROUND", "ground", floors),
    ):  # fmt: skip
        some = ", ".join(f"{name}_{k}" for k in which)
        text.append(f"static decltype(&{name}_0) const {table}[] = {{{some}}};\n")
    return "".join(text)


def _constants(width: int) -> str:
    """Return the numbers that the C++ text names."""
    whole = {
        "LANES": width, "TILE": TILE, "CROWD": CROWD, "RAYS": TILE * TILE, "PART": ATTRIBUTES,
        "CENTRE": CENTRE, "OWNER": OWNER, "SUN": look.SUN, "WET": look.WET, "LIGHTS": look.COLUMNS,
        "FLOOR": FLOOR, "FIRST_OBJECT": FIRST_OBJECT, "WATER": FLOORS.index("water"),
        "PRIMITIVES": PRIMITIVES,
    }  # fmt: skip
    real = {
        "FAR": FAR, "SHADOW_REACH": SHADOW_REACH, "SUN_REACH": SUN_REACH, "CONTRAST": CONTRAST,
    }
    lines = [f"#define {name} {value}" for name, value in whole.items()]
    lines += [f"#define {name} {value!r}f" for name, value in real.items()]
    lines.append(f"static const int FAMILY[] = {{{', '.join(map(str, FAMILY))}}};")
    for name, table in (("PROFILE", PROFILE), ("SAMPLES", SAMPLES), ("SUNS", SUN_JITTER)):
        rows = ", ".join("{" + ", ".join(map(repr, r)) + "}" for r in table)
        lines.append(f"static const float {name}[][{len(table[0])}] = {{{rows}}};")
    return "\n".join(lines) + "\n"


def source(width: int) -> str:
    """Return the whole C++ text for a processor that computes so many numbers at once."""
    text = resources.files(__package__).joinpath("native.cpp").read_text("utf-8")
    return _constants(width) + text.replace(LOOPS, _loops())


@cache
def _library() -> Any:  # noqa: ANN401 - what ctypes makes of it
    """Return the compiled function; compiled once a machine and version.

    Raises `RequestError` where there is no compiler, or it fails.
    """
    libraries = Path(torch.__file__).parent / "lib"
    sleef = (f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-ltorch_cpu")
    text = source(lanes()) if available() else ""
    return library("compiled rendering", "render", text, CONTRACT, *sleef).render


def render(
    frames: Frames, height: int, width: int, *, buffers: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Render packed frames on the processor, by as many threads as torch has.

    Returns colours `f 3 h w`, owners and depths `f h w`, and normals with how they face the
    camera, `f 4 h w`: zeros without `buffers`.

    Raises `RequestError` where nothing can be compiled, or a frame has too much in it.
    """
    call, (count, primitives) = _library(), frames.kind.shape
    if primitives > PRIMITIVES:
        raise RequestError(f"{primitives} primitives in a frame; at most {PRIMITIVES} are allowed")
    colour = torch.empty(count, 3, height, width)
    owner, depth = torch.empty(2, count, height, width)
    normal = torch.empty(count, 4, height, width) if buffers else None
    given = [
        a.contiguous() for a in (
            frames.parts, frames.kind, frames.bound, frames.soft, frames.camera, frames.light,
            frames.floor,
        )
    ]  # fmt: skip

    def some(part: range) -> None:
        """Render the frames of a part; no two threads write to the same ones."""
        scratch = torch.empty(5 * height * width, dtype=torch.uint8)
        at = [ctypes.c_void_p(a[part.start].data_ptr()) for a in given]
        arrays = (colour, owner, depth, normal)
        made = [None if a is None else a[part.start].data_ptr() for a in arrays]
        call(
            len(part), primitives, *at, height, width, ctypes.c_float(unit(height, width)),
            *map(ctypes.c_void_p, made), ctypes.c_void_p(scratch.data_ptr()),
        )  # fmt: skip

    each = -(-count // min(torch.get_num_threads(), count)) if count else 1
    parts = [range(count)[first : first + each] for first in range(0, count, each)]
    if len(parts) < 2:
        for part in parts:
            some(part)
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(some, parts))
    if normal is None:
        normal = torch.zeros(()).expand(count, 4, height, width)
    return colour, owner, depth, normal
