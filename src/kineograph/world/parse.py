"""Parsing: what a caption states, read back from its words; the inverse of `captions`.

`atoms` cuts the text into known phrases, and a `_Reader` goes through them once, from left
to right: it remembers what is being named and who does the next verb, as a reader does.
Text that no grammar made is read as far as its words are known; nothing is refused.
`python -m kineograph.world.parse --check 10000` counts how many captions are read exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from kineograph.world.parse_words import Atom, Form, Sense, atoms
from kineograph.world.scene import ROLLERS


@dataclass(frozen=True)
class Parsed:
    """What a caption states, with the names and values of `captions.facts`."""

    facts: dict[str, str] = field(default_factory=dict)
    """"object0.colour", "floor"...; objects are counted as they are first named."""
    open: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Facts that the words may state, and with which values: the motion of "an object moves"
    (a ball would roll, a cube slide), and all that the first of "a ball and a ring falling"
    does, of whom the grammar may mean the second alone."""
    unknown: tuple[str, ...] = ()
    """Words that no caption contains, as they are written."""
    heldout: bool = False
    """Whether the text has words that are held out of the training captions."""


def parse(caption: str) -> Parsed:
    """Read an English or Chinese caption, or any text; never raises."""
    pieces = atoms(caption)
    reader = _Reader()
    for atom, following in pairwise([*pieces, Atom("")]):
        reader.take(atom, following)
    found, choices = reader.close()
    return Parsed(
        found,
        choices,
        tuple(a.text for a in pieces if not a.known),
        any(a.held for a in pieces),
    )


@dataclass
class _Thing:
    """An object that was named: its facts, and what they may be besides."""

    facts: dict[str, str] = field(default_factory=dict)
    open: dict[str, tuple[str, ...]] = field(default_factory=dict)
    named: bool = False  # by a noun or by an unknown word, not by adjectives alone


class _Reader:
    """Collects facts from atoms, one after another."""

    def __init__(self) -> None:
        self.things: list[_Thing] = []
        self.scene: dict[str, str] = {}
        self.noun: _Thing | None = None  # being named, until its noun or the next verb
        self.subjects: list[_Thing] = []  # who does the next verb
        self.adverbs: dict[str, str] = {}  # said before their verb
        self.pairs: list[tuple[_Thing, _Thing]] = []  # "X and Y falling": does X fall?
        self.ands = 0  # conjunctions between names
        self._begin()

    def _begin(self) -> None:
        """Begin a clause: nobody is its subject yet."""
        if self.subjects:
            self.adverbs = {}  # "a fast ball" had no verb; in "slowly, a ball rolls" it is to come
        self.subjects = []
        self.way: tuple[Sense, ...] = ()  # what the next thing does, before its name: 滚动的球
        self.number: Literal["is", "are"] | None = None
        self.joined = False  # the next name stands beside the last
        self.camera = False  # the camera is the subject
        self.doers: list[_Thing] | None = None  # whom a later adverb concerns; [] is the camera
        self.mover: _Thing | None = None  # runs into the next thing named
        self.struck: _Thing | None = None  # the next thing named runs into it
        self.by: _Thing | None = None  # likewise, once the Chinese verb has come

    def take(self, atom: Atom, following: Atom) -> None:
        """Read one atom; the one that follows tells 滚动的球 from 滚动."""
        if not atom.senses:
            if not atom.known:
                self._stranger()
            return
        sense = atom.senses[0]
        match sense.role:
            case "adjective" | "noun" | "after" | "article":
                self._name(sense)
            case "verb" | "camera verb":
                if any(s.role == "of" for s in following.senses):
                    self.way = tuple(s for s in atom.senses if s.role == "verb")
                else:
                    self._verb(atom.senses)
            case "adverb":
                self._adverb(*sense.facts[0])
            case "place":
                self.scene.update(sense.facts)
            case "camera":
                self._introduce()
                self._begin()
                self.camera = True
            case "shot":
                self._introduce()
                self._move_camera(sense)
            case "break":
                self._break()
            case "and":
                self._introduce()
                self.joined = True
            case "both" | "is" | "are":
                self._introduce()
                self.number = "is" if sense.role == "is" else "are"
            case "hit" | "hit by" | "into" | "by":
                self._collision(sense)
            case "of":
                pass  # read with the verb before it

    def close(self) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
        """Return the facts and what is left open, under the names of `captions.facts`."""
        self._introduce()
        for first, second in self.pairs:
            self._share(first, second)
        found: dict[str, str] = {}
        choices: dict[str, tuple[str, ...]] = {}
        told = [thing for thing in self.things if thing.facts or thing.open]
        for n, thing in enumerate(told):
            found |= {f"object{n}.{name}": value for name, value in thing.facts.items()}
            choices |= {f"object{n}.{name}": values for name, values in thing.open.items()}
        return found | self.scene, choices

    # --- names ---------------------------------------------------------------------------
    def _name(self, sense: Sense) -> None:
        """Take a word of a name: "a", "red", "ball", "with stripes"."""
        if sense.role == "after" and self.noun is None and self.things:
            self.things[-1].facts.update(sense.facts)
            return
        if sense.role == "article":
            self._introduce()
        # "the ball is red": an adjective that begins no name tells of the subject
        begins = self.noun or self.joined or self._awaited() or self.doers is not None
        if sense.role == "adjective" and self.subjects and not begins:
            self.subjects[-1].facts.update(sense.facts)
            return
        self.noun = self.noun or _Thing()
        self.noun.facts.update(sense.facts)
        if sense.role == "noun":
            self.noun.named = True
            self._introduce()

    def _awaited(self) -> bool:
        """Whether a collision still lacks its second name."""
        return any(thing is not None for thing in (self.mover, self.struck, self.by))

    def _stranger(self) -> None:
        """Take an unknown word: where a name may stand it is one, elsewhere it is nothing."""
        if self.noun is None:
            if self.camera or (self.subjects and not (self.joined or self._awaited())):
                return
            self.noun = _Thing()
        self.noun.named = True

    def _introduce(self) -> None:
        """End the name in progress, if there is one: its thing is the subject or is hit."""
        thing, self.noun = self.noun, None
        if thing is None or not (thing.facts or thing.named):
            return  # "a video": an article alone
        self.things.append(thing)
        joined, self.joined = self.joined, False
        self.ands += joined
        self.camera = False
        if self.mover is not None:
            # "rolls into view" is no collision
            if thing.facts or self.mover.facts.get("motion") == "collide":
                self._collide(self.mover, thing)
            self.mover, self.subjects = None, []
            return
        if self.struck is not None:
            self._collide(thing, self.struck)
            self.struck, self.subjects, joined = None, [], False
        if joined and self.doers is None:
            self.subjects.append(thing)
        else:
            self.subjects = [thing]
        self.number, self.doers = None, None
        if self.way:
            way, self.way = self.way, ()
            self._tell(way, self.subjects[-1:])
            self.doers = None

    # --- clauses -------------------------------------------------------------------------
    def _break(self) -> None:
        """Take a mark or a word that ends a clause; "a small, red ball" goes on."""
        if self.noun is None or self.noun.named or not self.noun.facts:
            self._introduce()
            self._begin()

    def _adverb(self, name: str, value: str) -> None:
        """Take a speed or a direction: the verb's before it, else that of the next one."""
        if self.doers is None or self.noun is not None:
            self.adverbs[name] = value
            return
        for thing in self.doers:
            thing.facts.setdefault(name, value)
        if not self.doers and name == "speed":
            self.scene.setdefault("camera.speed", value)

    def _verb(self, senses: Sequence[Sense]) -> None:
        """Take a verb: "move left" is the camera's or an object's, by who is its subject."""
        self._introduce()
        own = [s for s in senses if s.role == "verb"]
        cameras = [s for s in senses if s.role == "camera verb"]
        form = senses[0].form
        if self.camera or not own or (form == "base" and cameras and not self.subjects):
            # "a car turns left" is no camera move, but "a red ball, pan left" is one
            if cameras and (self.camera or not self.subjects or form == "base"):
                self._move_camera(cameras[0])
            return
        if not self.subjects:  # "a red ball. Rolling left": the last one, if it does nothing yet
            if not self.things:
                self.things.append(_Thing())
            if "motion" in self.things[-1].facts:
                return
            self.subjects = self.things[-1:]
        self._tell(own, self._doers(form))

    def _doers(self, form: Form) -> list[_Thing]:
        """Choose who of the subjects does a verb: two if it is plural, else the last."""
        if form == "any":
            return self.subjects
        if form != "third" and (form == "base" or self.number == "are"):
            return self.subjects[-2:]
        if form != "third" and self.number is None and len(self.subjects) > 1:
            self.pairs.append((self.subjects[-2], self.subjects[-1]))
        return self.subjects[-1:]

    def _tell(self, senses: Sequence[Sense], doers: Sequence[_Thing]) -> None:
        """State what some things do; "move" means what their shapes can do."""
        found = dict(senses[0].facts)
        motions = tuple(dict.fromkeys(dict(s.facts)["motion"] for s in senses))
        shapes = [thing.facts["shape"] for thing in doers if "shape" in thing.facts]
        for thing in doers:
            own = [thing.facts["shape"]] if "shape" in thing.facts else shapes
            can = [motion for motion in motions if _can(motion, own)]
            if "motion" not in thing.facts and len(can) == 1:
                thing.facts["motion"] = can[0]
            elif "motion" not in thing.facts and len(motions) == 1:
                thing.facts["motion"] = motions[0]  # "a cube rolls", whatever the world lets it do
            elif "motion" not in thing.facts:
                thing.open["motion"] = motions
            for name in ("direction", "speed"):
                if name in found:
                    thing.facts[name] = found[name]
        self._done(doers)

    def _done(self, doers: Sequence[_Thing]) -> None:
        """End a verb: what was said before it of its manner is its doers'."""
        self.doers = list(doers)
        adverbs, self.adverbs = self.adverbs, {}
        for name, value in adverbs.items():
            self._adverb(name, value)

    def _move_camera(self, sense: Sense) -> None:
        self.scene.update(sense.facts)
        self._done(())

    def _collision(self, sense: Sense) -> None:
        """Take "hits", "is hit by", "into", or 被, and find who runs into whom."""
        self._introduce()
        if self.camera or (sense.role in ("into", "by") and not self.subjects):
            return
        if not self.subjects:
            if not self.things:
                self.things.append(_Thing())
            self.subjects = self.things[-1:]  # 红球向左滚动，撞上蓝球
        last = self.subjects[-1]
        if sense.role == "by":
            self.by, self.doers = last, None
        elif sense.role == "hit by":
            self.struck = last
        elif sense.role == "into":
            self.mover = last if self.doers else None
        elif self.by is not None:
            self._collide(last, self.by)
            self.by = None
        elif sense.role == "hit":
            self.mover, self.joined = last, False
            _set_motion(last, "collide")
            self._done([last])

    def _collide(self, mover: _Thing, struck: _Thing) -> None:
        _set_motion(mover, "collide")
        struck.facts["struck"] = "yes"
        self._done([mover])

    def _share(self, first: _Thing, second: _Thing) -> None:
        """Settle "X and Y falling": does X fall too?

        Y alone falls in a list "X and Y falling" or "Z, X and Y falling" where nothing is said
        of X, and the same words tell of both. Only as two of several clauses, with another
        "and" or before another thing, they are sure to tell of both.
        """
        names = ("motion", "direction", "speed")
        does: dict[str, str] = {n: second.facts[n] for n in names if n in second.facts}
        shapes = [first.facts["shape"]] if "shape" in first.facts else []
        motion = does.get("motion", "")
        if "motion" in first.facts or motion == "collide" or not _can(motion, shapes):
            return
        if self.ands > 1 or second is not self.things[-1]:
            first.facts |= does
        else:
            first.open |= {name: (value,) for name, value in does.items()} | second.open


def _can(motion: str, shapes: Sequence[str]) -> bool:
    """Whether the world lets these shapes do this: a ball rolls and a cube slides."""
    rolls = {"roll": True, "slide": False}.get(motion)
    return all(rolls in (None, shape in ROLLERS) for shape in shapes)


def _set_motion(thing: _Thing, motion: str) -> None:
    thing.facts["motion"] = motion
    thing.open.pop("motion", None)


if __name__ == "__main__":
    from kineograph.world.parse_check import main

    raise SystemExit(main())
