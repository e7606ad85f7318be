"""The Chinese grammar of whole captions: places, camera, shots and style around the things."""

from __future__ import annotations

from kineograph.world.v2 import words_film_zh as film
from kineograph.world.v2.captions_zh import things
from kineograph.world.v2.facts import of
from kineograph.world.v2.lexicon import Words
from kineograph.world.v2.plan import Telling
from kineograph.world.v2.words_zh import ZH_OF, ZH_SAME, ZH_SPEED

ZH_AFTER_THINGS = Words(("，", "。"))
ZH_STYLE_BEFORE = Words(("，", "："))


def _light(t: Telling) -> str:
    """The time of day and the weather: 夜晚，下着雨."""
    found = [t.pen.pick(film.ZH_SKY[t.told["sky"]])] if "sky" in t.told else []
    found += [t.pen.pick(film.ZH_WEATHER[t.told["weather"]])] if "weather" in t.told else []
    return "，".join(t.pen.shuffled(found))


def block(t: Telling) -> str:
    """The things with their places before, inside, or behind them."""
    if "floor" not in t.told:
        light, text = _light(t), things(t)[0]
        parts = [text, light] if t.pen.chance(0.3) else [light, text]
        return "，".join(part for part in parts if part)
    floor = t.pen.pick(film.ZH_FLOOR[t.told["floor"]])
    form = "before" if t.pen.full else t.pen.rng.choice(("before", "before", "inside", "tag"))
    if form == "tag":
        floor = t.pen.pick(film.ZH_SCENE) + t.pen.pick(film.ZH_PLACE).replace("{f}", floor)
        return "，".join(part for part in (things(t)[0], floor, _light(t)) if part)
    place = t.pen.pick(film.ZH_PLACE).replace("{f}", floor)
    if form == "inside":
        return "，".join(part for part in (_light(t), things(t, place)[0]) if part)
    if "sky" in t.told and "weather" not in t.told and t.pen.chance(0.5):
        place = f"{_light(t)}{t.pen.pick(ZH_OF)}{floor}上"
        return f"{place}，{things(t)[0]}".removesuffix("，")
    return "，".join(part for part in (_light(t), place, things(t)[0]) if part)


# --- the camera --------------------------------------------------------------------------
def _shot(t: Telling, k: int) -> str:
    """A shot by its camera: 慢速左摇镜头."""
    told = of(t.told, k, "shot")
    move, speed = told.get("camera.move"), told.get("camera.speed")
    if move is None:
        return t.pen.pick(film.ZH_OTHER_SHOT if k else film.ZH_SOME_SHOT)
    word = t.pen.pick(film.ZH_CAMERA_ADJECTIVE[speed]) if speed is not None else ""
    return t.pen.pick(film.ZH_CAMERA_NOUN[move]).replace("{v}", word)


def camera(t: Telling) -> str:
    """The camera of a single shot."""
    told = of(t.told, 0, "shot")
    if "camera.move" not in told:
        return ""
    if t.pen.chance(0.3):
        return _shot(t, 0)
    speed = t.pen.pick(ZH_SPEED[told["camera.speed"]]) if "camera.speed" in told else ""
    return t.pen.pick(film.ZH_CAMERA[told["camera.move"]]).replace("{v}", speed)


def shots(t: Telling) -> tuple[str, bool]:
    """The camera's part, and whether it lists several shots."""
    number = len(t.scene.shots)
    if number == 1:
        parts = [camera(t), t.pen.pick(film.ZH_SHOTS["1"]) if "shots" in t.told else ""]
        return "，".join(part for part in parts if part), False
    if "shots" not in t.told:
        return "", False
    if not any(n.startswith("shot") and n != "shots" for n in t.told):
        return t.pen.pick(film.ZH_SHOTS[str(number)]), False
    named = "shot0.camera.move" in t.told
    text = (t.pen.pick(film.ZH_OPENING) if named else film.ZH_OPENING.trained[0]) + _shot(t, 0)
    for k in range(1, number):
        told = of(t.told, k, "shot")
        words = film.ZH_TRANSITION[told.get("transition", "")]
        # never 下一个镜头是另一个镜头
        change = t.pen.pick(words) if told else words.trained[0]
        text += f"，{change}{_shot(t, k)}"
    return text, True


# --- the whole ---------------------------------------------------------------------------
def compose(t: Telling) -> str:
    """State the told facts of a scene in Chinese."""
    parts = {"B": block(t)}
    parts["C"], several = shots(t)
    if "style" in t.told:
        named = t.pen.pick(film.ZH_STYLE[t.told["style"]])
        parts["Y"] = t.pen.pick(film.ZH_STYLE_PLACE).replace("{s}", named)
    result, previous = "", ""
    for slot in t.pen.pick(film.ZH_SLOTS).split("|"):
        text = parts.get(slot, "")
        if not text:
            continue
        if result:
            result += _join(t, previous, slot, text, several)
        result, previous = result + text, slot
    return result + ("。" if t.pen.full or t.pen.chance(0.85 if "。" in result else 0.5) else "")


def _join(t: Telling, before: str, after: str, text: str, several: bool) -> str:
    """What stands between two parts."""
    if "Y" in (before, after):
        return t.pen.pick(ZH_STYLE_BEFORE) if before == "Y" and after == "B" else "，"
    if several:
        return "。"
    if after != "C":
        return "，"
    # only a clause that begins with the camera can follow 同时
    moves = text.startswith("镜头") and t.told.get("shot0.camera.move") != "static"
    if moves and t.pen.chance(0.2):
        return "，" + t.pen.pick(ZH_SAME)
    return t.pen.pick(ZH_AFTER_THINGS)
