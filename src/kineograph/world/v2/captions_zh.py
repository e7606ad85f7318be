"""The Chinese grammar of captions: things, what they do, and where they stand.

The film around it, the camera, the light and the style, is worded in `film_zh`.
"""

from __future__ import annotations

from collections.abc import Mapping

from kineograph.world.v2 import words_zh as zh
from kineograph.world.v2.lexicon import Pen, Words
from kineograph.world.v2.plan import Clause, Telling, clauses, matches

ZH_CLAUSE_JOIN = Words(("，", "。"), held=("；",))
ZH_MORE = Words(("另外",))
ROLLS = ("ball",)  # what rolls when it is pushed into something


# --- names -------------------------------------------------------------------------------
def name(looks: Mapping[str, str], pen: Pen) -> str:
    """A thing without number and measure: 红色小金属球, 小红球."""
    colour = pen.pick(zh.ZH_COLOUR[looks["colour"]]) if "colour" in looks else ""
    size = pen.pick(zh.ZH_SIZE[looks["size"]]) if "size" in looks else ""
    material = pen.pick(zh.ZH_MATERIAL[looks["material"]]) if "material" in looks else ""
    noun = pen.pick(zh.ZH_SHAPE[looks["shape"]] if "shape" in looks else zh.ZH_THING)
    if len(colour) == 1 and (material or len(noun) > 2 or noun in ("东西", "物体", "物件")):
        colour += pen.pick(zh.ZH_HUE)  # 黄金属球 would read as gold
    # 小红球 and 巨大的红色球, but 红色小球: one-character sizes do not precede 红色
    if len(size) > 1 or len(colour) == 1:
        return size + colour + material + noun
    # 红色小金属球, but 红色带条纹的小球
    tail = material + size if material.endswith("的") else size + material
    return colour + tail + noun


def measured(looks: Mapping[str, str], pen: Pen, number: str) -> str:
    """A number with its measure word, and the thing: 一排五块红色骨牌."""
    heap, shape = looks.get("pile"), looks.get("shape", "")
    if heap:
        number += pen.pick(zh.ZH_PILE[heap])
        if "count" not in looks:
            return number + name(looks, pen)
        number += pen.pick(zh.ZH_NUMBER[looks["count"]])
    return number + pen.pick(zh.ZH_MEASURE[shape]) + name(looks, pen)


def mention(t: Telling, i: int) -> str:
    """Name a thing: in full the first time, then just well enough to point at it."""
    if i in t.known:
        looks, which = t.description(i)
        first = t.pen.pick(zh.ZH_ORDINAL[str(which)] if which else zh.ZH_DEFINITE)
        return measured({n: v for n, v in looks.items() if n != "count"}, t.pen, first)
    looks = t.looks(i)
    again = bool(matches(looks, [t.looks(k) for k in t.known]))
    t.known.append(i)
    if t.foreign == i:
        return t.in_other_language(i, again)
    if again:
        return measured(looks, t.pen, t.pen.pick(zh.ZH_ANOTHER))
    if "pile" not in looks and "shape" in looks and t.pen.chance(0.12):
        return name(looks, t.pen)
    return measured(looks, t.pen, zh.ZH_NUMBER["1"].trained[0])


def subject_of(t: Telling, clause: Clause) -> str:
    """Name what a clause is about: 两个红球, 一个红球和一个蓝色方块."""
    if clause.alike:
        looks = t.looks(clause.subjects[0])
        number = t.pen.pick(zh.ZH_NUMBER[str(len(clause.subjects))])
        if matches(looks, [t.looks(k) for k in t.known]):
            number = t.pen.pick(ZH_MORE) + number
        t.known += clause.subjects
        return measured(looks, t.pen, number)
    if t.last == clause.subjects and t.pen.chance(0.5):
        return t.pen.pick(zh.ZH_IT if len(clause.subjects) == 1 else zh.ZH_THEY)
    return listed([mention(t, i) for i in clause.subjects], t.pen)


def listed(names: list[str], pen: Pen) -> str:
    """Join names: 一个球、一个方块和一个圆锥."""
    link = pen.pick(zh.ZH_AND)
    return link.join(["、".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def hue(colour: str) -> str:
    """A colour as a noun, as something turns into it: 红色, 鲜红色."""
    colour = colour.removesuffix("的")
    return colour if colour.endswith("色") else colour + zh.ZH_HUE.trained[0]


# --- verbs -------------------------------------------------------------------------------
def _does(t: Telling, i: int, motion: str) -> str:
    """What a thing does: 慢慢地向左滚动."""
    told = t.of(i)
    if motion == "recolour" and "colour_to" in told:
        colour = hue(t.pen.pick(zh.ZH_COLOUR[told["colour_to"]]))
        return t.pen.pick(zh.ZH_RECOLOUR).replace("{c}", colour)
    speed = t.pen.pick(zh.ZH_SPEED[told["speed"]]) if "speed" in told else ""
    if "direction" not in told or motion == told.get("then"):
        text = t.pen.pick(zh.ZH_MOTION[motion])
    elif motion in ("roll", "slide") and "shape" in told and t.pen.chance(0.08):
        text = t.pen.pick(zh.ZH_MOVE)
    else:
        text = t.pen.pick(zh.ZH_MOTION_DIRECTED[motion])
    if motion == told.get("then"):
        speed = ""  # that of what it did first
    if "{d}" in text:
        text = text.replace("{d}", t.pen.pick(zh.ZH_DIRECTION[told["direction"]]))
    if "{n}" in text:
        text = text.replace("{n}", t.pen.pick(zh.ZH_SIDE[told["direction"]]))
    return text.replace("{v}", speed)


def _meeting(t: Telling, i: int, place: str) -> str:
    """One thing runs into or circles another: told by the one or, passive, by the other."""
    told = t.of(i)
    partner = int(told["partner"].removeprefix("object"))
    if told["motion"] == "orbit":
        mover = mention(t, i)
        speed = t.pen.pick(zh.ZH_SPEED[told["speed"]]) if "speed" in told else ""
        circles = t.pen.pick(zh.ZH_PARTNER["orbit"]).replace("{v}", speed)
        return f"{mover}{place}{circles.replace('{o}', mention(t, partner))}"
    manner = "roll" if t.scene.objects[i].shape in ROLLS else "slide"
    way = ""
    if {"direction", "speed"} & told.keys() or t.pen.chance(0.2):
        way = _does(t, i, manner)
    if not place and t.pen.chance(0.2):
        target = mention(t, partner)
        mover = (way + t.pen.pick(zh.ZH_OF) if way else "") + mention(t, i)
        return target + t.pen.pick(zh.ZH_PARTNER_BY["collide"]).replace("{s}", mover)
    mover = mention(t, i)
    link = t.pen.pick(zh.ZH_HIT_LINK) if way else ""
    hits = t.pen.pick(zh.ZH_PARTNER["collide"]).replace("{o}", mention(t, partner))
    return f"{mover}{place}{way}{link}{hits}"


def _where(t: Telling, relation: int) -> str:
    """Where a thing stands: 在蓝色方块的左边."""
    place = t.scene.relations[relation]
    names = [mention(t, k) for k in t.pen.shuffled(place.others)]
    return listed(names, t.pen) + t.pen.pick(zh.ZH_RELATION[place.name])


# --- clauses -----------------------------------------------------------------------------
def _place(t: Telling, clause: Clause) -> str:
    """A clause of its own for where something stands."""
    i, relation = clause.subjects[0], clause.relation
    assert relation is not None
    if i in t.known:
        text = subject_of(t, clause) + t.pen.pick(zh.ZH_AT) + _where(t, relation)
    elif t.pen.chance(0.35):
        text = _where(t, relation) + t.pen.pick(zh.ZH_HAS) + mention(t, i)
    else:
        text = mention(t, i) + t.pen.pick(zh.ZH_AT) + _where(t, relation)
    t.last = ()
    return text


def tell(t: Telling, clause: Clause, place: str = "") -> str:
    """Put a clause into words; `place` is where it happens, told inside of it."""
    i = clause.subjects[0]
    told = t.of(i)
    if clause.kind == "place":
        return _place(t, clause)
    if "partner" in told:
        t.last = ()
        return _meeting(t, i, place)
    many = len(clause.subjects) > 1
    stands = told.get("motion") == "stack" and i not in t.known and t.pen.chance(0.6)
    subject = subject_of(t, clause)
    t.last = clause.subjects
    if clause.kind == "show" or stands:
        return f"{place}{t.pen.pick(zh.ZH_THERE)}{subject}"
    every = t.pen.pick(zh.ZH_ALL) if many and not clause.alike else ""
    does = _does(t, i, told["motion"])
    if clause.relation is not None:
        where = t.pen.pick(zh.ZH_AT) + _where(t, clause.relation)
        t.last = ()
        return f"{subject}{where}{does}"
    if told["motion"] in zh.ZH_PROGRESSING and not many and t.pen.chance(0.2):
        every = zh.ZH_PROGRESSIVE.trained[1] if place else t.pen.pick(zh.ZH_PROGRESSIVE)
    text = f"{subject}{every}{place}{does}"
    if "then" in told:
        word = t.pen.pick(zh.ZH_SEQUEL)
        it = t.pen.pick(zh.ZH_THEY if many else zh.ZH_IT) if t.pen.chance(0.15) else ""
        text += f"，{word}{it}{_does(t, i, told['then'])}"
    return text


def _join(t: Telling, text: str, a: Clause, b: Clause) -> str:
    """What stands between the text so far and a clause, with the word for its order."""
    alike = t.scene.objects[a.subjects[0]].order == t.scene.objects[b.subjects[0]].order
    if a.kind == b.kind == "act" and alike and a.order == b.order:
        # two that come 然后 would come one after the other
        once = not any(same in text.rpartition("。")[2] for same in zh.ZH_SAME.trained)
        if b.order is not None or (once and t.pen.chance(0.25)):
            return "，" + t.pen.pick(zh.ZH_SAME)
    if b.order is not None:
        stop = "，" if b.order == "later" and t.pen.chance(0.6) else "。"
        return stop + _order_word(t, b.order)
    return t.pen.pick(ZH_CLAUSE_JOIN)


def _order_word(t: Telling, order: str) -> str:
    """The word for when a clause begins: 然后, 首先，."""
    return t.pen.pick(zh.ZH_ORDER[order]) + ("，" if t.pen.chance(0.25) else "")


def things(t: Telling, place: str = "") -> tuple[str, list[Clause]]:
    """Tell of all things and what they do; the first clause holds the place, if one is given."""
    planned = clauses(t.scene, t.told, t.pen)
    text = ""
    if place and planned and not can_hold_place(planned[0]):
        text, place = f"{place}，", ""
    for n, clause in enumerate(planned):
        piece = tell(t, clause, place if n == 0 else "")
        if n:
            text += _join(t, text, planned[n - 1], clause)
        elif clause.order is not None:
            text += _order_word(t, clause.order)
        text += piece
    return text, planned


def can_hold_place(clause: Clause) -> bool:
    """Whether a place fits into a clause: 一个红球在草地上滚动."""
    return clause.kind != "place" and clause.relation is None and len(clause.subjects) == 1
