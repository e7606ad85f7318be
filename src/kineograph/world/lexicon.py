"""The words of the captions: for every value of the scene record, what it may be called.

Each concept is a `Words`: what training captions use, the canonical word first, and what
is held out to test new phrasing. English verbs stand in their base form and
`inflect` makes the rest; "{d}" marks where a direction goes. Chinese predicates mark the
direction "{d}", the side "{n}", the speed "{v}", and the thing that is hit "{o}".
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Ways to say one thing; the first trained one is canonical."""

    trained: tuple[str, ...]
    held: tuple[str, ...] = ()


def words(text: str, held: str = "") -> Words:
    """Words from a list separated by commas and spaces."""
    return Words(tuple(text.split(", ")), tuple(held.split(", ")) if held else ())


@dataclass(frozen=True)
class Pen:
    """Chooses among words: at random, only canonical ones (full), or held ones (held)."""

    rng: random.Random
    full: bool = False
    held: bool = False

    def pick(self, choice: Words) -> str:
        """One way to say it; the canonical one gets a larger share, for it is what users type."""
        if self.full:
            return choice.trained[0]
        if self.held and choice.held:
            return self.rng.choice(choice.held)
        if self.rng.random() < 0.3:
            return choice.trained[0]
        return self.rng.choice(choice.trained)

    def chance(self, probability: float) -> bool:
        """True with this probability; never in a full caption, whose form is fixed."""
        return not self.full and self.rng.random() < probability


# --- English -----------------------------------------------------------------------------
EN_SHAPE = {
    "ball": words("ball, sphere, orb", held="globe"),
    "cube": words("cube, box, block"),
    "cylinder": words("cylinder, drum, can", held="tube"),
    "cone": words("cone, pointed cone"),
    "ring": words("ring, torus, donut", held="hoop"),
}
EN_THING = words("object, thing")
EN_COLOUR = {
    "red": words("red, crimson, scarlet", held="ruby"),
    "orange": words("orange, tangerine, amber"),
    "yellow": words("yellow, golden, lemon yellow"),
    "green": words("green, emerald, bright green", held="jade"),
    "cyan": words("cyan, turquoise, aqua", held="teal"),
    "blue": words("blue, azure, cobalt", held="sapphire"),
    "purple": words("purple, violet, plum"),
    "pink": words("pink, rosy, hot pink"),
    "white": words("white, snow-white, ivory"),
    "black": words("black, jet-black, pitch-black", held="ebony"),
}
EN_SIZE = {
    "small": words("small, little, tiny", held="mini"),
    "medium": words("medium, medium-sized, mid-sized"),
    "large": words("large, big, huge", held="giant"),
}
EN_MATERIAL = {
    "matte": words("matte, dull, rubber"),
    "metal": words("metal, metallic, shiny metal, steel", held="chrome"),
    "striped": words("striped, stripy", held="banded"),
}
EN_MADE_OF = {
    "matte": words("with a matte finish"),
    "metal": words("made of metal, made of steel"),
    "striped": words("with stripes"),
}
EN_DIRECTION = {
    "left": words("left, to the left, toward the left, from right to left", held="leftwards"),
    "right": words("right, to the right, toward the right, from left to right", held="rightwards"),
}
# A speed is an adverb that may stand before the verb, or a phrase that only follows it.
EN_SPEED_BEFORE = {
    "slow": words("slowly, gently", held="sluggishly"),
    "fast": words("quickly, rapidly", held="swiftly"),
}
EN_SPEED = {
    "slow": words("slowly, gently, at low speed", held="sluggishly"),
    "normal": words("at medium speed, at a moderate speed"),
    "fast": words("quickly, fast, rapidly, at high speed", held="swiftly"),
}
EN_MOTION = {
    "still": words("stand still, rest, sit motionless, stay in place", held="remain at rest"),
    "fall": words(
        "fall and bounce, bounce, drop and bounce, bounce up and down, be dropped and bounce, fall",
        held="plunge and rebound",
    ),
    "roll": words("roll {d}, roll along {d}, move {d}", held="trundle {d}"),
    "slide": words("slide {d}, glide {d}, move {d}", held="skid {d}"),
    "throw": words(
        "be thrown {d}, fly {d} through the air, be tossed {d}, fly {d}, soar {d} in an arc",
        held="be hurled {d}",
    ),
    "spin": words("spin in place, spin, rotate, turn in place, spin around", held="whirl"),
}
EN_HIT = words("hit, crash into, bump into, collide with, run into, strike", held="slam into")
EN_HIT_BY = words("be hit by, be struck by", held="be rammed by")
EN_HIT_LINK = words("and", held="and then")
EN_INTO = words("into")
EN_FLOOR = {
    "checkered": words(
        "on a checkered floor, over a checkered floor, on a checkerboard, on a checkerboard floor",
        held="on checkered ground",
    ),
    "tiled": words("on a tiled floor, on tiles, over a tiled floor", held="on tiled ground"),
    "wooden": words("on a wooden floor, on wooden boards, on a wood floor, over a wooden floor"),
    "grassy": words("on grass, on a grassy field, over grass, on a lawn", held="on a meadow"),
    "sandy": words("on sand, on a sandy floor, on sandy ground, over sand", held="on desert sand"),
    "plain": words("on a plain floor, on a smooth floor, on a bare floor"),
}
EN_SKY = {
    "dawn": words("at dawn, at sunrise, in the early morning", held="at daybreak"),
    "noon": words("at noon, at midday, in bright daylight", held="in the middle of the day"),
    "sunset": words("at sunset, at dusk, in the evening light", held="at sundown"),
    "night": words("at night, under a night sky, in the night", held="after dark"),
}
EN_CAMERA_DIRECTION = {
    "left": words("left, to the left"),
    "right": words("right, to the right"),
    "up": words("up, upward"),
    "down": words("down, downward"),
}
EN_CAMERA = {
    "pan": words("pan {d}, turn {d}, swing {d}", held="sweep {d}"),
    "tilt": words("tilt {d}, look {d}", held="angle {d}"),
    "dolly in": words("dolly in, push in, zoom in, move closer, move forward", held="creep in"),
    "dolly out": words(
        "dolly out, pull back, zoom out, move away, move backward", held="back away"
    ),
    "truck": words("truck {d}, track {d}, move {d}", held="shift {d}"),
    "orbit": words("orbit {d}, circle {d}, orbit {d} around the scene", held="arc {d}"),
}
EN_STATIC = words("stay fixed, be fixed, be static, do not move", held="hold steady")
EN_STATIC_SHOT = words(
    "static camera, fixed camera, static shot, fixed shot", held="locked-off shot"
)
# "a slow pan left": only for verbs whose base form is a noun of film language as well.
EN_CAMERA_NOUNS = ("pan", "tilt", "dolly", "push", "zoom", "truck", "orbit")
EN_CAMERA_ADJECTIVE = {
    "slow": words("slow, gentle"),
    "normal": words("medium speed"),
    "fast": words("fast, quick"),
}
# base form: (third person, -ing form)
EN_INFLECT = {
    "angle": ("angles", "angling"), "arc": ("arcs", "arcing"), "back": ("backs", "backing"),
    "be": ("is", "being"), "bounce": ("bounces", "bouncing"), "bump": ("bumps", "bumping"),
    "circle": ("circles", "circling"), "collide": ("collides", "colliding"),
    "crash": ("crashes", "crashing"), "creep": ("creeps", "creeping"), "do": ("does", "doing"),
    "dolly": ("dollies", "dollying"), "drop": ("drops", "dropping"), "fall": ("falls", "falling"),
    "fly": ("flies", "flying"), "glide": ("glides", "gliding"), "hit": ("hits", "hitting"),
    "hold": ("holds", "holding"), "look": ("looks", "looking"), "move": ("moves", "moving"),
    "orbit": ("orbits", "orbiting"), "pan": ("pans", "panning"), "plunge": ("plunges", "plunging"),
    "pull": ("pulls", "pulling"), "push": ("pushes", "pushing"), "rebound": ("rebounds",
    "rebounding"), "remain": ("remains", "remaining"), "rest": ("rests", "resting"),
    "roll": ("rolls", "rolling"), "rotate": ("rotates", "rotating"), "run": ("runs", "running"),
    "shift": ("shifts", "shifting"), "sit": ("sits", "sitting"), "skid": ("skids", "skidding"),
    "slam": ("slams", "slamming"), "slide": ("slides", "sliding"), "soar": ("soars", "soaring"),
    "spin": ("spins", "spinning"), "stand": ("stands", "standing"), "stay": ("stays", "staying"),
    "strike": ("strikes", "striking"), "sweep": ("sweeps", "sweeping"),
    "swing": ("swings", "swinging"), "tilt": ("tilts", "tilting"), "track": ("tracks", "tracking"),
    "truck": ("trucks", "trucking"), "trundle": ("trundles", "trundling"),
    "turn": ("turns", "turning"), "whirl": ("whirls", "whirling"), "zoom": ("zooms", "zooming"),
}  # fmt: skip


def inflect(phrase: str, form: str) -> str:
    """A verb phrase in the "third" person, the "ing" form, or its "base".

    The first word of every part joined by "and" is a verb if the table has it.
    """
    if form == "base":
        return phrase
    column = {"third": 0, "ing": 1}[form]
    parts = []
    for part in phrase.split(" and "):
        head, _, tail = part.partition(" ")
        head = EN_INFLECT[head][column] if head in EN_INFLECT else head
        parts.append(f"{head} {tail}".strip())
    return " and ".join(parts)


# --- Chinese -----------------------------------------------------------------------------
ZH_SHAPE = {
    "ball": words("球, 圆球, 球体", held="圆珠"),
    "cube": words("方块, 立方体, 正方体"),
    "cylinder": words("圆柱, 圆柱体, 柱子", held="圆筒"),
    "cone": words("圆锥, 圆锥体, 锥体"),
    "ring": words("圆环, 环, 甜甜圈", held="圆圈"),
}
ZH_THING = words("物体, 东西")
ZH_MEASURE = {
    "ball": words("一个, 一颗, 一只"),
    "cube": words("一个, 一块"),
    "cylinder": words("一个, 一根"),
    "cone": words("一个, 一只"),
    "ring": words("一个, 一只, 一枚"),
}
ZH_COLOUR = {
    "red": words("红色, 红, 红色的, 鲜红的", held="大红的"),
    "orange": words("橙色, 橙, 橙色的, 橘色的"),
    "yellow": words("黄色, 黄, 黄色的, 明黄的"),
    "green": words("绿色, 绿, 绿色的, 翠绿的", held="碧绿的"),
    "cyan": words("青色, 青, 青色的, 青绿色的"),
    "blue": words("蓝色, 蓝, 蓝色的, 湛蓝的", held="蔚蓝的"),
    "purple": words("紫色, 紫, 紫色的, 深紫的"),
    "pink": words("粉色, 粉, 粉色的, 粉红的"),
    "white": words("白色, 白, 白色的, 雪白的", held="洁白的"),
    "black": words("黑色, 黑, 黑色的, 漆黑的"),
}
ZH_SIZE = {
    "small": words("小, 小小的, 小型", held="迷你"),
    "medium": words("中等, 中等大小的, 中号"),
    "large": words("大, 巨大的, 大型", held="硕大的"),
}
ZH_MATERIAL = {
    "matte": words("哑光, 磨砂, 橡胶"),
    "metal": words("金属, 钢, 金属质感的", held="不锈钢"),
    "striped": words("条纹, 带条纹的", held="斑马纹"),
}
ZH_DIRECTION = {
    "left": words("向左, 往左, 朝左, 从右向左", held="由右往左"),
    "right": words("向右, 往右, 朝右, 从左向右", held="由左往右"),
}
ZH_SIDE = {"left": words("左边, 左侧, 左方"), "right": words("右边, 右侧, 右方")}
ZH_SPEED = {
    "slow": words("慢慢, 慢慢地, 缓慢地, 缓缓", held="徐徐"),
    "normal": words("中速"),
    "fast": words("快速, 快速地, 飞快地, 迅速", held="疾速"),
}
ZH_MOTION = {
    "still": words("静止不动, 静止, 一动不动, 停着不动", held="纹丝不动"),
    "fall": words("落下并弹起, 弹跳, 上下弹跳, 掉下来弹跳, 落到地上又弹起来", held="坠落后反弹"),
    "roll": words("{v}滚动, {v}滚, {v}移动", held="{v}翻滚"),
    "slide": words("{v}滑动, {v}滑行, {v}移动", held="{v}滑移"),
    "throw": words("被{v}抛出, {v}飞过空中, 被{v}扔出去, {v}飞出", held="被{v}掷出"),
    "spin": words("原地{v}旋转, {v}原地转动, {v}旋转, {v}打转", held="{v}自转"),
}
ZH_MOTION_DIRECTED = {
    "roll": words("{v}{d}滚动, {d}{v}滚动, {v}{d}滚, {v}滚向{n}, {v}{d}移动", held="{v}{d}翻滚"),
    "slide": words("{v}{d}滑动, {d}{v}滑动, {v}{d}滑, {v}滑向{n}, {v}{d}移动", held="{v}{d}滑移"),
    "throw": words(
        "被{v}抛向{n}, 被{v}{d}抛出, {v}{d}飞出, {v}{d}飞过空中, 被{v}扔向{n}", held="被{v}掷向{n}"
    ),
}
ZH_HIT = words("撞上, 撞到, 碰上", held="撞击")
ZH_PROGRESSIVE = words("正在, 正")
ZH_FLOOR = {
    "checkered": words("棋盘格地面, 棋盘格地板, 棋盘地面, 方格棋盘", held="棋盘格场地"),
    "tiled": words("瓷砖地面, 瓷砖地板, 瓷砖", held="地砖"),
    "wooden": words("木地板, 木质地面, 木头地面"),
    "grassy": words("草地, 草地地面", held="草坪"),
    "sandy": words("沙地, 沙子", held="沙滩"),
    "plain": words("纯色地面, 光滑地面, 素色地板"),
}
ZH_SKY = {
    "dawn": words("黎明, 清晨, 日出时", held="拂晓"),
    "noon": words("正午, 中午, 中午时分", held="晌午"),
    "sunset": words("日落, 日落时分, 黄昏, 傍晚", held="夕阳下"),
    "night": words("夜晚, 夜里, 晚上", held="深夜"),
}
ZH_CAMERA = {
    "pan left": words("镜头{v}左摇, 镜头{v}向左摇, {v}左摇镜头", held="镜头{v}往左摇摄"),
    "pan right": words("镜头{v}右摇, 镜头{v}向右摇, {v}右摇镜头", held="镜头{v}往右摇摄"),
    "tilt up": words("镜头{v}上仰, 镜头{v}向上仰, 镜头{v}上摇", held="镜头{v}仰起"),
    "tilt down": words("镜头{v}下俯, 镜头{v}向下俯, 镜头{v}下摇", held="镜头{v}俯下"),
    "dolly in": words("镜头{v}推近, {v}推近镜头, 镜头{v}向前推进, 镜头{v}拉近, 镜头{v}前移"),
    "dolly out": words("镜头{v}拉远, {v}拉远镜头, 镜头{v}向后拉, 镜头{v}后退, 镜头{v}后移"),
    "truck left": words("镜头{v}左移, 镜头{v}向左移动, 镜头{v}向左平移", held="镜头{v}往左横移"),
    "truck right": words("镜头{v}右移, 镜头{v}向右移动, 镜头{v}向右平移", held="镜头{v}往右横移"),
    "orbit left": words("镜头{v}向左环绕, 镜头{v}左环绕, 镜头{v}向左绕行", held="镜头{v}往左绕圈"),
    "orbit right": words("镜头{v}向右环绕, 镜头{v}右环绕, 镜头{v}向右绕行", held="镜头{v}往右绕圈"),
    "static": words("固定镜头, 镜头固定, 镜头不动, 静止镜头", held="定镜头"),
}
