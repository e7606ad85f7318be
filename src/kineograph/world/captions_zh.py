"""The Chinese grammar of captions.

A sentence is ordered from slots: S the objects and what they do, I the same with the
floor inside (一个红球在草地上滚动), F the floor as a place (在草地上), f the floor as a tag,
K the sky, C the camera; "|" stands where a comma goes.
"""

from __future__ import annotations

from kineograph.world.lexicon import (
    ZH_CAMERA,
    ZH_COLOUR,
    ZH_DIRECTION,
    ZH_FLOOR,
    ZH_HIT,
    ZH_MATERIAL,
    ZH_MEASURE,
    ZH_MOTION,
    ZH_MOTION_DIRECTED,
    ZH_PROGRESSIVE,
    ZH_SHAPE,
    ZH_SIDE,
    ZH_SIZE,
    ZH_SKY,
    ZH_SPEED,
    ZH_THING,
    Pen,
    Words,
)
from kineograph.world.phrase import Unit, attributes, units
from kineograph.world.scene import ROLLERS, Scene

ZH_ORDER = Words(
    ("KF|S|C", "K|F|S|C", "C|KF|S", "C|K|F|S", "K|I|C", "I|K|C", "S|f|K|C", "C|I|K"),
    held=("F|S|K|C", "C|S|K|f"),
)
ZH_HUE = Words(("色",))
ZH_THERE_IS = Words(("有",))
ZH_BOTH = Words(("都",))
ZH_AND = Words(("和", "与"))
ZH_PLACE = Words(("在{f}上",))
ZH_SKY_PLACE = Words(("{k}在{f}上", "{k}的{f}上"))
ZH_INLINE = Words(("在{f}上",))
ZH_HIT_BY = Words(("{o}被{way}的{s}撞上", "{o}被{way}的{s}撞到"), held=("{o}被{way}的{s}撞击",))
ZH_HIT_BY_PLAIN = Words(("{o}被{s}撞上", "{o}被{s}撞到"), held=("{o}被{s}撞击",))
ZH_HIT_LINK = Words(("，", "", "并"), held=("，然后",))
ZH_JOIN = Words(("，", "，同时", "，而"), held=("，与此同时",))
ZH_JOIN_CAMERA = Words(("，", "。", "，同时"))


def _noun(scene: Scene, said: frozenset[str], index: int, pen: Pen) -> str:
    """Name an object: 一个红色小金属球, 小红球."""
    thing, has = scene.objects[index], attributes(said, index)
    colour = pen.pick(ZH_COLOUR[thing.colour]) if "colour" in has else ""
    size = pen.pick(ZH_SIZE[thing.size]) if "size" in has else ""
    material = pen.pick(ZH_MATERIAL[thing.material]) if "material" in has else ""
    if material and len(colour) == 1:
        colour += pen.pick(ZH_HUE)  # 黄金属球 would read as gold
    # 小红球 and 巨大的红色球, but 红色小球: one-character sizes do not precede 红色
    size_first = len(size) > 1 or len(colour) == 1
    name = pen.pick(ZH_SHAPE[thing.shape] if "shape" in has else ZH_THING)
    crowded = pen.full and len(scene.objects) > 2  # measure words would pass the token limit
    measure = "" if crowded or pen.chance(0.15) else pen.pick(ZH_MEASURE[thing.shape])
    if "shape" not in has and measure:
        measure = ZH_MEASURE[thing.shape].trained[0]  # 一颗 would betray the shape
    if size_first:
        return measure + size + colour + material + name
    # 红色小金属球, but 红色带条纹的小球
    tail = material + size if material.endswith("的") else size + material
    return measure + colour + tail + name


def _moving(scene: Scene, said: frozenset[str], index: int, pen: Pen, motion: str) -> str:
    """What an object does: 慢慢地向左滚动."""
    thing, has = scene.objects[index], attributes(said, index)
    speed = ""
    if "speed" in has and thing.speed is not None:
        speed = pen.pick(ZH_SPEED[thing.speed])
    if "direction" not in has or thing.direction is None:
        return pen.pick(ZH_MOTION[motion]).replace("{v}", speed)
    text = pen.pick(ZH_MOTION_DIRECTED[motion]).replace("{v}", speed)
    if "{d}" in text:
        text = text.replace("{d}", pen.pick(ZH_DIRECTION[thing.direction]))
    if "{n}" in text:
        text = text.replace("{n}", pen.pick(ZH_SIDE[thing.direction]))
    return text


def _collision(scene: Scene, said: frozenset[str], unit: Unit, pen: Pen, place: str) -> str:
    """One object runs into another: told by the one or, passive, by the other."""
    first, second = unit.indices
    mover, target = _noun(scene, said, first, pen), _noun(scene, said, second, pen)
    manner = "roll" if scene.objects[first].shape in ROLLERS else "slide"
    way = ""
    if attributes(said, first) & {"direction", "speed"} or pen.chance(0.2):
        way = _moving(scene, said, first, pen, manner)
    if not place and pen.chance(0.2):
        told = pen.pick(ZH_HIT_BY if way else ZH_HIT_BY_PLAIN)
        return told.replace("{o}", target).replace("{way}", way).replace("{s}", mover)
    link = pen.pick(ZH_HIT_LINK) if way else ""
    return f"{mover}{place}{way}{link}{pen.pick(ZH_HIT)}{target}"


def _unit(scene: Scene, said: frozenset[str], unit: Unit, pen: Pen, place: str) -> str:
    if unit.kind == "hit":
        return _collision(scene, said, unit, pen, place)
    first, both = unit.indices[0], unit.kind == "both"
    subject = pen.pick(ZH_AND).join(_noun(scene, said, i, pen) for i in unit.indices)
    if "motion" not in attributes(said, first):
        return f"{place}{pen.pick(ZH_THERE_IS)}{subject}"
    motion = scene.objects[first].motion
    does = _moving(scene, said, first, pen, motion)
    progressive = ""
    if motion in ("roll", "slide", "spin") and not both and pen.chance(0.2):
        progressive = ZH_PROGRESSIVE.trained[1] if place else pen.pick(ZH_PROGRESSIVE)
    return f"{subject}{pen.pick(ZH_BOTH) if both else ''}{progressive}{place}{does}"


def _subject(scene: Scene, said: frozenset[str], pen: Pen, place: str = "") -> str:
    """All objects and what they do; the first clause holds the place, if one is given."""
    parts = units(scene, said, pen)
    if place and parts[0].kind == "both":
        return f"{place}，" + _subject(scene, said, pen)
    texts = [_unit(scene, said, u, pen, place if n == 0 else "") for n, u in enumerate(parts)]
    result = texts[0]
    for text in texts[1:]:
        result += pen.pick(ZH_JOIN) + text
    return result


def _part(slots: str, scene: Scene, said: frozenset[str], pen: Pen) -> str:
    """The text of one part of the order; empty when its facts are unsaid."""
    floor = pen.pick(ZH_FLOOR[scene.floor]) if "floor" in said else ""
    sky = pen.pick(ZH_SKY[scene.sky]) if "sky" in said else ""
    if slots == "KF" and floor and sky:
        return pen.pick(ZH_SKY_PLACE).replace("{k}", sky).replace("{f}", floor)
    place = pen.pick(ZH_PLACE).replace("{f}", floor) if floor else ""
    if slots == "I":
        return _subject(scene, said, pen, place)
    if slots == "S":
        return _subject(scene, said, pen)
    if slots == "C":
        if "camera.move" not in said:
            return ""
        speed = ""
        if "camera.speed" in said and scene.camera.speed is not None:
            speed = pen.pick(ZH_SPEED[scene.camera.speed])
        return pen.pick(ZH_CAMERA[scene.camera.move]).replace("{v}", speed)
    return {"K": sky, "F": place, "f": floor, "KF": sky or place}[slots]


def compose(scene: Scene, said: frozenset[str], pen: Pen) -> str:
    """State the given facts of a scene in Chinese."""
    result, previous = "", ""
    for slots in pen.pick(ZH_ORDER).split("|"):
        text = _part(slots, scene, said, pen)
        if not text:
            continue
        if result:
            told = slots == "C" and previous in ("S", "I")
            join = pen.pick(ZH_JOIN_CAMERA) if told else "，"
            # only a clause that begins with the camera can follow 同时
            plain = not text.startswith("镜头") or scene.camera.move == "static"
            result += "，" if join == "，同时" and plain else join
        result, previous = result + text, slots
    return result + ("。" if pen.chance(0.5) else "")
