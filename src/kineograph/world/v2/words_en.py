"""English words for things: what they are, what they do, and where they stand."""

from __future__ import annotations

from kineograph.world.v2.lexicon import words

EN_SHAPE = {
    "ball": words("ball, sphere, orb", held="globe"),
    "cube": words("cube, box, block", text="square block"),
    "cylinder": words("cylinder, drum, can", text="barrel", held="tube"),
    "cone": words("cone, pointed cone", text="traffic cone"),
    "ring": words("ring, torus, donut", text="doughnut", held="hoop"),
    "capsule": words("capsule, pill", text="lozenge", held="tablet"),
    "pyramid": words("pyramid, square pyramid", text="four-sided pyramid"),
    "egg": words("egg, ellipsoid", text="egg shape", held="oval"),
    "table": words("table, desk", text="dining table", held="coffee table"),
    "arch": words("arch, archway, gate", text="portal", held="gateway"),
    "snowman": words("snowman, snow figure", text="snow man"),
    "domino": words("domino, domino tile", text="domino piece", held="domino brick"),
}
EN_THING = words("object, thing", text="item")
EN_COLOUR = {
    "red": words("red, crimson, scarlet", text="cherry-red", held="ruby"),
    "orange": words("orange, tangerine, amber", held="apricot"),
    "yellow": words("yellow, golden, lemon yellow", text="canary-yellow"),
    "green": words("green, emerald, bright green", text="leaf-green", held="jade"),
    "cyan": words("cyan, turquoise, aqua", text="blue-green", held="teal"),
    "blue": words("blue, azure, cobalt", text="sky-blue", held="sapphire"),
    "purple": words("purple, violet, plum", text="lavender", held="lilac"),
    "pink": words("pink, rosy, hot pink", text="rose-coloured", held="fuchsia"),
    "white": words("white, snow-white, ivory", text="milk-white"),
    "black": words("black, jet-black, pitch-black", text="coal-black", held="ebony"),
}
EN_SIZE = {
    "small": words("small, little, tiny", text="miniature", held="mini"),
    "medium": words("medium, medium-sized, mid-sized", text="middle-sized"),
    "large": words("large, big, huge", text="enormous", held="giant"),
}
EN_MATERIAL = {
    "rubber": words("rubber, matte, rubbery", text="dull"),
    "metal": words("metal, metallic, shiny metal, steel", text="iron", held="chrome"),
    "glass": words("glass, transparent glass, see-through", text="crystal", held="glassy"),
    "wood": words("wooden, wood, timber", text="oak", held="plywood"),
    "striped": words("striped, stripy", held="banded"),
}
EN_MADE_OF = {
    "rubber": words("made of rubber, with a matte finish"),
    "metal": words("made of metal, made of steel", text="made of iron"),
    "glass": words("made of glass", text="made of crystal"),
    "wood": words("made of wood, made of timber", held="carved from wood"),
    "striped": words("with stripes", held="with bands"),
}
EN_DIRECTION = {
    "left": words(
        "to the left, left, toward the left, from right to left",
        text="towards the left", held="leftwards",
    ),
    "right": words(
        "to the right, right, toward the right, from left to right",
        text="towards the right", held="rightwards",
    ),
}  # fmt: skip
# A speed is an adverb that may stand before the verb, or a phrase that only follows it.
EN_SPEED_BEFORE = {
    "slow": words("slowly, gently", text="leisurely", held="sluggishly"),
    "fast": words("quickly, rapidly", text="speedily", held="swiftly"),
}
EN_SPEED = {
    "slow": words("slowly, gently, at low speed", text="at a slow pace", held="sluggishly"),
    "normal": words("at medium speed, at a moderate speed", text="at an average speed"),
    "fast": words("quickly, fast, rapidly, at high speed", text="at full speed", held="swiftly"),
}
EN_MOTION = {
    "still": words(
        "stand still, rest, sit motionless, stay in place",
        text="keep still", held="remain at rest",
    ),
    "fall": words("fall, fall down, be dropped, drop to the ground", "plummet", "plunge"),
    "bounce": words("bounce {d}, hop {d}, bounce along {d}, hop along {d}", "leap {d}", "skip {d}"),
    "throw": words(
        "be thrown {d}, fly {d} through the air, be tossed {d}, fly {d}, soar {d} in an arc",
        text="be flung {d}", held="be hurled {d}",
    ),
    "roll": words("roll {d}, roll along {d}, roll over the ground {d}", held="trundle {d}"),
    "slide": words("slide {d}, glide {d}, slide along {d}", text="slip {d}", held="skid {d}"),
    "pendulum": words(
        "swing like a pendulum, swing back and forth, swing to and fro",
        text="swing from side to side", held="sway like a pendulum",
    ),
    "spin": words(
        "spin in place, spin, rotate, turn in place, spin around", "twirl", "whirl"
    ),
    "topple": words(
        "tip over {d}, topple over {d}, fall over {d}", text="overturn {d}", held="keel over {d}"
    ),
    "dominoes": words(
        "fall {d} one after another, topple {d} one after another, tip over {d} one by one",
        text="tumble {d} one after another", held="go down {d} in a chain",
    ),
    "stack": words("stand firm, stay upright, stand without falling", held="stay balanced"),
    "collapse": words("collapse, fall apart, come tumbling down", "crumble", "tumble to pieces"),
    "float": words("float up, rise into the air, float upward, drift upward", "levitate", "ascend"),
    "grow": words("grow, get bigger, grow larger, swell", text="expand", held="inflate"),
    "shrink": words("shrink, get smaller, become smaller", text="contract", held="dwindle"),
    "recolour": words("change colour, change its colour, change color", text="switch colour"),
}  # fmt: skip
EN_RECOLOUR = words(
    "turn {c}, become {c}, change colour to {c}, change to {c}, change color to {c}",
    text="go {c}", held="switch to {c}",
)  # fmt: skip
# What the shape alone tells apart: a ball that moves rolls, a cube slides.
EN_MOVE = words("move {d}")
MOVES = ("roll", "slide")
# A thing that does something to its partner, told by the one or by the other.
EN_PARTNER = {
    "collide": words(
        "hit, crash into, bump into, collide with, run into, strike", "knock into", "slam into"
    ),
    "orbit": words(
        "circle, circle around, orbit, move in circles around, revolve around",
        text="go around", held="loop around",
    ),
}  # fmt: skip
EN_PARTNER_BY = {
    "collide": words("be hit by, be struck by", text="be bumped by", held="be rammed by"),
    "orbit": words("be circled by, be orbited by"),
}
EN_HIT_LINK = words("and", held="and then")
EN_INTO = words("into")

EN_PILE = {
    "row": words("row of, line of", text="chain of", held="series of"),
    "stack": words("stack of, tower of, pile of", text="column of"),
}
EN_NUMBER = {
    "1": words("one"),
    "2": words("two, 2"),
    "3": words("three, 3"),
    "4": words("four, 4"),
    "5": words("five, 5"),
    "6": words("six, 6"),
    "7": words("seven, 7"),
    "8": words("eight, 8"),
}
EN_RELATION = {
    "left of": words(
        "to the left of, left of, on the left side of, on the left of", held="leftward of"
    ),
    "right of": words(
        "to the right of, right of, on the right side of, on the right of", held="rightward of"
    ),
    "in front of": words("in front of", held="at the front of"),
    "behind": words("behind, in back of", text="at the back of"),
    "on": words("on top of, on, atop", text="upon"),
    "under": words("under, beneath, underneath", held="below"),
    "inside": words("inside, in the middle of, within"),
    "between": words("between, in between", held="in the gap between"),
}
# Words before a relation that say no more than that the thing is there.
EN_AT = words("is, sits, stands", text="is placed", held="is located")
EN_AT_MANY = words("are, sit, stand", text="are placed", held="are located")

EN_INDEFINITE = words("a, an")
EN_ANOTHER = words("another", text="one more")
EN_DEFINITE = words("the")
EN_ORDINAL = {
    str(n): words(f"the {name}")
    for n, name in enumerate(("first", "second", "third", "fourth", "fifth", "sixth", "seventh",
                              "eighth"), 1)
}  # fmt: skip
EN_IT = words("it")
EN_THEY = words("they")
EN_THERE = {"one": words("there is"), "many": words("there are")}
EN_ALL = {"both": words("both"), "all": words("all")}
EN_AND = words("and")
EN_IS = words("is, is being")
EN_ARE = words("are, are being")

# "first" and "later" are the orders of what things do; "same" is that of the clause before.
EN_ORDER = {
    "first": words("first, at first", text="in the beginning", held="initially"),
    "later": words("then, after that, afterwards", text="next", held="subsequently"),
}
EN_SAME = words("while", held="whilst")
EN_SAME_SENTENCE = words("at the same time, meanwhile", held="simultaneously")
EN_SEQUEL = words("then, and then", text="and afterwards", held="and subsequently")

# Tables whose phrases take other forms in a caption.
NOUNS = ("EN_SHAPE", "EN_THING")
VERBS = ("EN_MOTION", "EN_RECOLOUR", "EN_MOVE", "EN_PARTNER", "EN_PARTNER_BY")
