"""English words for the film: places and light, the camera, shots, styles, and clause orders."""

from __future__ import annotations

from kineograph.world.v2.lexicon import Words, words

EN_FLOOR = {
    "checkered": words(
        "on a checkered floor, on a checkerboard, on a checkerboard floor",
        text="on a chessboard floor", held="on checkered ground",
    ),
    "wooden": words(
        "on a wooden floor, on wooden boards, on a wood floor",
        text="on floorboards", held="on a plank floor",
    ),
    "grassy": words("on grass, on a grassy field, on the grass, on a lawn", held="on a meadow"),
    "sandy": words(
        "on sand, on a sandy floor, on sandy ground, on the sand", held="on desert sand"
    ),
    "marble": words("on a marble floor, on marble, on polished marble", held="on marble slabs"),
    "snowy": words(
        "on snow, on a snowy field, on snowy ground", text="on snow-covered ground"
    ),
    "grid": words("on a grid, on a grid floor, on a glowing grid", held="on a lattice floor"),
    "water": words("on water, on the surface of the water, on still water", text="on a pond"),
}  # fmt: skip
EN_SKY = {
    "dawn": words(
        "at dawn, at sunrise, in the early morning", text="at first light", held="at daybreak"
    ),
    "noon": words(
        "at noon, at midday, in bright daylight", held="in the middle of the day"
    ),
    "sunset": words("at sunset, in the light of the setting sun", held="at sundown"),
    "dusk": words("at dusk, at twilight, in the twilight", text="at nightfall"),
    "night": words("at night, under a night sky, in the night", held="after dark"),
}  # fmt: skip
EN_WEATHER = {
    "clear": words("in clear weather, in fine weather", held="in fair weather"),
    "rain": words(
        "in the rain, in rainy weather, under falling rain", "while it rains", held="in a downpour"
    ),
    "snow": words(
        "in falling snow, in snowy weather, in a snowfall", "while it snows", held="amid snowflakes"
    ),
    "fog": words("in the fog, in thick fog, in foggy weather", text="in a haze", held="in mist"),
}
EN_SETTING = words("the scene is set, it happens, the scene takes place", held="it all plays out")

EN_CAMERA_DIRECTION = {
    "left": words("left, to the left"),
    "right": words("right, to the right"),
    "up": words("up, upward"),
    "down": words("down, downward"),
}
EN_CAMERA = {
    "pan": words("pan {d}, turn {d}", text="swing {d}", held="sweep {d}"),
    "tilt": words("tilt {d}, look {d}", held="angle {d}"),
    "dolly in": words("dolly in, push in, move closer, move forward", "track in", "creep in"),
    "dolly out": words("dolly out, pull back, move away, move backward", "track out", "back away"),
    "truck": words("truck {d}, track {d}, move {d}", text="strafe {d}", held="shift {d}"),
    "crane": words("crane {d}, boom {d}, move {d}", text="travel {d}"),
    "orbit": words(
        "orbit {d}, circle {d}, orbit {d} around the scene", text="revolve {d}", held="arc {d}"
    ),
    "roll": words("roll {d}, bank {d}, rotate {d}", text="twist {d}", held="lean {d}"),
    "zoom in": words("zoom in, zoom in on the scene", held="zoom closer"),
    "zoom out": words("zoom out, zoom out from the scene", held="zoom away"),
    "static": words(
        "stay fixed, be fixed, be static, do not move", text="stand still", held="hold steady"
    ),
    "handheld": words(
        "be handheld, shake slightly, wobble slightly", text="be held by hand", held="jitter"
    ),
}  # fmt: skip
# "a slow pan left": only for verbs whose base form is a noun of film language as well.
EN_CAMERA_NOUN = {
    "pan": words("pan {d}"),
    "tilt": words("tilt {d}"),
    "dolly in": words("dolly in, push in", text="track in"),
    "dolly out": words("dolly out, pull back", text="track out"),
    "truck": words("tracking shot {d}, truck shot {d}", text="trucking shot {d}"),
    "crane": words("crane shot {d}, crane move {d}", text="boom shot {d}"),
    "orbit": words("orbit {d}, orbit shot {d}", held="arc shot {d}"),
    "roll": words("camera roll {d}, roll {d}"),
    "zoom in": words("zoom in"),
    "zoom out": words("zoom out"),
    "static": words("static shot, fixed shot", held="locked-off shot"),
    "handheld": words("handheld shot, shaky handheld shot", text="hand-held shot"),
}
EN_CAMERA_STATE = {
    "static": words("static camera, fixed camera", text="stationary camera"),
    "handheld": words("handheld camera, shaky handheld camera", text="hand-held camera"),
}
EN_CAMERA_ADJECTIVE = {
    "slow": words("slow, gentle"),
    "normal": words("medium-speed"),
    "fast": words("fast, quick", held="swift"),
}
EN_CAMERA_SUBJECT = words("the camera, camera")
EN_CAMERA_KIND = words("clause, noun, command, gerund")
EN_WITH = words("with")

EN_OPENING = words("first, it starts with, it opens with", held="the film begins with")
EN_TRANSITION = {
    "cut": words("cut to, then cut to, followed by a cut to", text="cutting to"),
    "dissolve": words("dissolve to, then dissolve to, followed by a dissolve to", "dissolving to"),
    "fade": words("fade to, then fade to, followed by a fade to", text="fading to"),
    "wipe": words("wipe to, then wipe to, followed by a wipe to", text="wiping to"),
    "": words("followed by, the next shot is", held="the following shot is"),
}
EN_SOME_SHOT = words("a shot of the scene")
EN_OTHER_SHOT = words("another shot, a new shot", text="a different shot")
EN_SHOTS = {
    "1": words("in a single shot, in one take", text="in one continuous shot", held="in one go"),
    **{
        number: words(f"in {word} shots, in {number} shots", held=f"across {word} shots")
        for number, word in (("2", "two"), ("3", "three"), ("4", "four"), ("5", "five"),
                             ("6", "six"))
    },
}  # fmt: skip

# Without an article: it is put before it where one belongs.
EN_STYLE_WORK = {
    "photoreal": words("photo, photograph, realistic video", text="photorealistic shot"),
    "toon": words("cartoon, cel-shaded cartoon", text="toon", held="cartoon film"),
    "pencil": words("pencil drawing, pencil sketch", held="graphite drawing"),
    "watercolor": words("watercolor, watercolor painting", text="watercolour"),
    "oil": words("oil painting, painting in oils", held="oil on canvas"),
    "pixel art": words("piece of pixel art, pixel art animation", held="8-bit animation"),
    "neon": words("neon light drawing, neon drawing", held="neon tube drawing"),
    "noir": words("film noir, film noir scene", text="noir movie", held="noir picture"),
    "thermal": words("thermal image, thermal camera image", held="heat map"),
    "blueprint": words("blueprint, blueprint drawing", held="cyanotype"),
    "ink wash": words("ink wash painting, Chinese ink painting", held="sumi-e painting"),
    "sepia": words("sepia photograph, sepia film", text="sepia-toned film"),
    "comic": words("comic, comic book panel", text="comic strip", held="graphic novel panel"),
    "vhs": words("VHS tape, old VHS recording", held="camcorder tape"),
    "clay": words("clay animation, claymation", text="plasticine animation"),
    "x-ray": words("x-ray, x-ray image", held="radiograph"),
    "hologram": words("hologram, holographic projection", held="hologram display"),
    "chalkboard": words("chalk drawing, chalkboard drawing", text="blackboard drawing"),
    "stained glass": words("stained glass window, stained glass picture", held="leaded window"),
    "mosaic": words("mosaic, tile mosaic", text="mosaic picture"),
    "night vision": words("night vision recording, night vision image"),
    "vaporwave": words("vaporwave video, vaporwave picture", text="vaporwave clip"),
    "paper cut": words("paper cut, paper cutout, paper collage", held="papercraft scene"),
    "ukiyo-e": words("ukiyo-e print, Japanese woodblock print", held="ukiyo-e picture"),
}
EN_STYLE_NAME = {
    "photoreal": words("photorealistic, realistic", text="photoreal", held="lifelike"),
    "toon": words("cartoon, toon", text="cel-shaded", held="anime"),
    "pencil": words("pencil, pencil drawing", text="pencil sketch"),
    "watercolor": words("watercolor, watercolor painting", text="watercolour"),
    "oil": words("oil painting"),
    "pixel art": words("pixel art, pixel", held="8-bit"),
    "neon": words("neon, neon light"),
    "noir": words("film noir, noir"),
    "thermal": words("thermal, thermal image", text="thermal imaging"),
    "blueprint": words("blueprint"),
    "ink wash": words("ink wash, ink painting", held="sumi-e"),
    "sepia": words("sepia", text="sepia-toned"),
    "comic": words("comic, comic book", text="comic strip"),
    "vhs": words("VHS, VHS tape"),
    "clay": words("clay, claymation", text="plasticine"),
    "x-ray": words("x-ray"),
    "hologram": words("hologram, holographic"),
    "chalkboard": words("chalkboard, chalk drawing", text="blackboard"),
    "stained glass": words("stained glass"),
    "mosaic": words("mosaic", text="tile mosaic"),
    "night vision": words("night vision"),
    "vaporwave": words("vaporwave"),
    "paper cut": words("paper cut, paper cutout", text="paper collage"),
    "ukiyo-e": words("ukiyo-e, Japanese woodblock"),
}
# "{a}" is a work with its article, "{s}" the name of a style, "{as}" that with an article.
EN_STYLE_LEAD = words("{a} of", held="{a} showing")
EN_STYLE_BEFORE = words("{s} style, in {s} style, in the style of {a}", held="as {a}")
EN_STYLE_AFTER = words(
    "in {s} style, in the style of {a}, {s} style", text="in {as} style", held="as {a}"
)
EN_LEAD = Words(("", "a video of", "a shot of"), ("a film of",), ("a clip of",))
# Parts: B the things and where they are, C the camera, Y the style.
EN_SLOTS = Words(("B|C|Y", "Y|B|C", "C|B|Y", "B|Y|C", "Y|C|B"), held=("C|Y|B",))

VERBS = ("EN_CAMERA",)  # tables whose phrases take other forms in a caption
