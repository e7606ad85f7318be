"""Where objects begin: groups that belong together, each with the room that it needs, apart.

What runs into or circles something, and what stands on, under or beside something, is placed
with it; the room of a group covers all that its objects will do, so that nothing touches what
it should not.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from kineograph.world.v2.camera import HALF_FOV
from kineograph.world.v2.parts import FOOT, HALF_HEIGHT, HOOP, RADIUS
from kineograph.world.v2.play import lies, sign_of, spans
from kineograph.world.v2.ranges import fastest, most
from kineograph.world.v2.scene import SHOT_SECONDS, SPEEDS, VERSION, Relation, Scene
from kineograph.world.v2.simulate import AMPLITUDE, GAP, GROWN, LENGTH, OVERHANG, START_SPEED

Place = tuple[float, float, float]  # x, height of what it stands on, z (m)
ASPECTS = {
    "1:1": (1, 1),
    "4:3": (4, 3),
    "3:4": (3, 4),
    "16:9": (16, 9),
    "9:16": (9, 16),
    "21:9": (21, 9),
}
MARGIN = 0.14  # m, between the rooms of two groups
TRIES = 60


@dataclass
class Room:
    """A rectangle on the floor (m)."""

    left: float
    right: float
    back: float
    front: float

    def with_(self, other: Room, x: float, z: float) -> Room:
        """Return the room that covers this one and another, moved."""
        return Room(
            min(self.left, other.left + x), max(self.right, other.right + x),
            min(self.back, other.back + z), max(self.front, other.front + z),
        )  # fmt: skip

    def meets(self, other: Room, x: float, z: float, ox: float, oz: float) -> bool:
        """Whether this room at (x, z) and another at (ox, oz) overlap."""
        apart_x = (
            self.left + x > other.right + ox + MARGIN or other.left + ox > self.right + x + MARGIN
        )
        apart_z = (
            self.back + z > other.front + oz + MARGIN or other.back + oz > self.front + z + MARGIN
        )
        return not (apart_x or apart_z)


def foot(scene: Scene, i: int) -> tuple[float, float]:
    """Return how far an object reaches along x and z, however it is turned (m)."""
    thing = scene.objects[i]
    if lies(scene, i):
        return HOOP * RADIUS[thing.size], HOOP * RADIUS[thing.size]
    a, b = (f * RADIUS[thing.size] for f in FOOT[thing.shape])
    if thing.shape in ("cube", "pyramid", "table", "arch") and thing.motion != "collide":
        a, b = 0.95 * math.hypot(a, b), 0.95 * math.hypot(a, b)  # turned about the vertical
    return a, b


def room(scene: Scene, i: int) -> Room:
    """Return the room that an object needs around where it begins, for all that it does."""
    thing, span = scene.objects[i], spans(scene)[i]
    a, b = foot(scene, i)
    r, sign = RADIUS[thing.size], sign_of(thing.direction)
    grown = GROWN if "grow" in (thing.motion, thing.then) else 1.0
    found = Room(-a * grown, a * grown, -b * grown, b * grown)
    forward = back = 0.0
    if thing.motion in START_SPEED and thing.motion != "collide":
        slowed = min(1.0, SHOT_SECONDS / scene.seconds)
        speed = fastest(START_SPEED[thing.motion], thing.speed, scene.numbers, slowed)
        forward = speed * (scene.seconds - span.start)
    tall = 2 * HALF_HEIGHT[thing.shape] * r
    if thing.motion == "pendulum":
        swing = math.radians(most(AMPLITUDE, scene.numbers))
        forward = back = most(LENGTH, scene.numbers) * math.sin(swing)
    elif thing.motion == "topple":
        forward = tall
    elif thing.motion == "collapse":
        forward = back = tall + OVERHANG
    elif thing.motion == "dominoes":
        half = (thing.count - 1) / 2 * (2 * FOOT["domino"][0] * r + GAP * tall)
        forward, back = half + tall, half
    if sign > 0:
        return Room(found.left - back, found.right + forward, found.back, found.front)
    return Room(found.left - forward, found.right + back, found.back, found.front)


def _beside(scene: Scene, relation: Relation, rng: random.Random) -> Place:
    """Return where the subject of a relation stands, seen from the (first) other."""
    i, j = relation.subject, relation.others[0]
    (a, b), (c, d) = foot(scene, i), foot(scene, j)
    gap, aside = rng.uniform(0.12, 0.35), rng.uniform(-0.2, 0.2)
    base = scene.objects[j]
    r = RADIUS[base.size]
    if relation.name in ("left of", "right of"):
        way = -1.0 if relation.name == "left of" else 1.0
        return way * (a + c + gap), 0.0, aside
    if relation.name in ("in front of", "behind"):
        way = 1.0 if relation.name == "in front of" else -1.0
        # A little to the side: what is behind must be seen.
        return rng.choice((-1, 1)) * 0.6 * (a + c), 0.0, way * (b + d + gap)
    if relation.name == "on":
        return 0.0, 2 * HALF_HEIGHT[base.shape] * r, 0.0
    return 0.0, 0.0, 0.0  # under a roof, or inside a ring that lies


def fits(scene: Scene, relation: Relation) -> bool:
    """Whether the sizes of objects allow a relation: a ball under a table must be low enough."""
    i, j = relation.subject, relation.others[0]
    thing, base = scene.objects[i], scene.objects[j]
    r, big = RADIUS[thing.size], RADIUS[base.size]
    a, b = foot(scene, i)
    wide = max(a, b)
    if relation.name == "on":
        top = FOOT[base.shape]
        return wide <= 1.02 * min(top) * big
    if relation.name == "under":
        inside = {"table": (1.30 * big, 1.04 * big), "arch": (1.08 * big, 0.70 * big)}
        high, half = inside[base.shape]
        return 2 * HALF_HEIGHT[thing.shape] * r < high and wide < half
    if relation.name == "inside":
        return wide < 0.40 * HOOP * big
    return True


class _Groups:
    """Objects that are placed together: offsets from the first, and their common room."""

    def __init__(self, scene: Scene, rng: random.Random) -> None:
        self.scene, self.rng = scene, rng
        self.offset: dict[int, Place] = {}
        self.members: list[list[int]] = []
        self.rooms: list[Room] = []
        children: dict[int, list[int]] = {}
        for i, thing in enumerate(scene.objects):
            if thing.partner is not None:
                children.setdefault(thing.partner, []).append(i)
        self.relations: dict[int, Relation] = {}
        for relation in scene.relations:
            if relation.name == "between":
                children.setdefault(relation.subject, []).extend(relation.others)
                for other in relation.others:
                    self.relations[other] = relation
            else:
                children.setdefault(relation.others[0], []).append(relation.subject)
                self.relations[relation.subject] = relation
        below = {c for some in children.values() for c in some}
        for i in range(len(scene.objects)):
            if i not in below:
                self._group(i, children)

    def _group(self, first: int, children: dict[int, list[int]]) -> None:
        self.offset[first] = (0.0, 0.0, 0.0)
        members, queue, whole = [first], [first], room(self.scene, first)
        while queue:
            parent = queue.pop()
            px, py, pz = self.offset[parent]
            for child in children.get(parent, []):
                x, y, z = self._offset(child, parent)
                self.offset[child] = (px + x, py + y, pz + z)
                members.append(child)
                queue.append(child)
                whole = whole.with_(self._room(child, parent), px + x, pz + z)
        self.members.append(members)
        self.rooms.append(whole)

    def _offset(self, child: int, parent: int) -> Place:
        """Return where an object begins, seen from the one that it belongs to."""
        thing = self.scene.objects[child]
        (a, b), (c, d) = foot(self.scene, child), foot(self.scene, parent)
        if thing.partner == parent and thing.motion == "orbit":
            radius = max(a, b) + max(c, d) + self.rng.uniform(0.15, 0.4)
            phase = self.rng.uniform(0, 2 * math.pi)
            return radius * math.cos(phase), 0.0, radius * math.sin(phase)
        if thing.partner == parent:
            speed = START_SPEED["collide"][SPEEDS.index(str(thing.speed))]
            way = a + c + speed * self.rng.uniform(0.24, 0.34) * spans(self.scene)[child].seconds
            return -sign_of(thing.direction) * min(way, 2.2), 0.0, 0.0
        relation = self.relations[child]
        if relation.name != "between":
            return _beside(self.scene, relation, self.rng)
        way = -1.0 if child == relation.others[0] else 1.0
        return way * (a + c + self.rng.uniform(0.12, 0.4)), 0.0, self.rng.uniform(-0.15, 0.15)

    def _room(self, child: int, parent: int) -> Room:
        """Return the room of a member around where it begins."""
        thing = self.scene.objects[child]
        own = room(self.scene, child)
        if thing.partner != parent:
            return own
        x, _, z = self.offset[child]
        px, _, pz = self.offset[parent]
        if thing.motion == "orbit":
            reach = math.hypot(x - px, z - pz) + max(foot(self.scene, child))
            return Room(px - x - reach, px - x + reach, pz - z - reach, pz - z + reach)
        # What is struck goes on for about as long a way as the other came.
        table = START_SPEED["collide"]
        top, usual = (fastest(table, thing.speed, n) for n in (self.scene.numbers, "seen"))
        ahead = abs(px - x) + 1.3 * max(1.0, top / usual)
        if sign_of(thing.direction) > 0:
            return Room(own.left, own.right + ahead, own.back, own.front)
        return Room(own.left - ahead, own.right, own.back, own.front)


def half_width(scene: Scene, distance: float) -> float:
    """Return how far to the side the picture shows what is at a distance (m)."""
    w, h = ASPECTS[scene.aspect_ratio]
    return distance * HALF_FOV * math.sqrt(w / h)


def places(scene: Scene) -> list[Place] | None:
    """Return where the objects of a scene begin, or None if they do not find room.

    A ring that something is inside of lies on the floor around it.
    """
    rng = random.Random(f"kineograph world {VERSION} {scene.seed} layout")
    groups = _Groups(scene, rng)
    if any(not fits(scene, relation) for relation in scene.relations):
        return None
    distance = 5.2 + 0.28 * max(0, len(scene.objects) - 2)
    deep = 0.7 + 0.16 * len(scene.objects)
    taken: list[tuple[Room, float, float]] = []
    found: dict[int, Place] = {}
    order = sorted(
        range(len(groups.rooms)), key=lambda g: groups.rooms[g].left - groups.rooms[g].right
    )
    for g in order:
        mine = groups.rooms[g]
        for _ in range(TRIES):
            z = rng.uniform(-1.5 * deep, 0.75 * deep)
            side = half_width(scene, distance - z) - 0.12
            low, high = -side - mine.left, side - mine.right
            middle = (low + high) / 2
            x = rng.uniform(low, high) if low < high else middle
            if len(groups.rooms) == 1:
                x, z = middle + 0.35 * (x - middle), 0.4 * z
            if low > high + 0.8 or any(mine.meets(r, x, z, ox, oz) for r, ox, oz in taken):
                continue
            taken.append((mine, x, z))
            for i in groups.members[g]:
                ox, oy, oz = groups.offset[i]
                found[i] = (x + ox, oy, z + oz)
            break
        else:
            return None
    return [found[i] for i in range(len(scene.objects))]
