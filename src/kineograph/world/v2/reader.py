"""Reading a caption: a walk through its phrases that remembers what is being told.

`Reader` goes from left to right and once: it knows what is being named, who does the next
verb, and where something stands, as a reader does. `parse` starts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kineograph.world.v2.parse_words import Atom, Form, Sense
from kineograph.world.v2.plan import LOOKS, matches
from kineograph.world.v2.scene import CAN


@dataclass(eq=False)
class Thing:
    """An object that was named: its facts, what they may be besides, and its partner."""

    facts: dict[str, str] = field(default_factory=dict)
    open: dict[str, tuple[str, ...]] = field(default_factory=dict)
    partner: Thing | None = None
    named: bool = False  # by a noun or by an unknown word, not by adjectives alone
    det: dict[str, str] = field(default_factory=dict)  # how many are named, and which

    def looks(self) -> dict[str, str]:
        return {name: value for name, value in self.facts.items() if name in LOOKS}


@dataclass
class Standing:
    """A relation that is being told; without a subject it is told the other way round."""

    name: str | None
    subject: Thing | None
    others: list[Thing] = field(default_factory=list)


class Reader:
    """Collects facts from atoms, one after another."""

    def __init__(self) -> None:
        self.things: list[Thing] = []
        self.relations: list[tuple[str, Thing, tuple[Thing, ...]]] = []
        self.scene: dict[str, str] = {}
        self.noun: Thing | None = None  # being named, until its noun or the next verb
        self.subjects: list[Thing] = []  # who does the next verb
        self.topic: list[Thing] = []  # whom "it" and a sequel mean
        self.listed: list[Thing] = []  # named one after another, with no verb since
        self.adverbs: dict[str, str] = {}  # said before their verb
        self.order: str | None = None  # of the next verb
        self.told_order: str | None = None  # of the last verb
        self.shot = 0
        self.waiting: Standing | None = None  # told the other way round, its subject to come
        self._begin()

    def _begin(self) -> None:
        """Begin a clause: nobody is its subject yet."""
        if self.subjects:
            self.adverbs = {}  # "a fast ball" had no verb; in "slowly, a ball rolls" it is to come
        self.subjects = []
        self.way: tuple[Sense, ...] = ()  # what the next thing does, before its name: 滚动的球
        self.many = True  # "is" has not said that one alone does the verb
        self.joined = False  # the next name stands beside the last
        self.camera = False  # the camera is the subject
        self.doers: list[Thing] | None = None  # whom a later adverb concerns; [] is the camera
        self.mover: tuple[Thing, str] | None = None  # does something to the next thing named
        self.struck: tuple[Thing, str] | None = None  # the next thing named does it to this
        self.by: Thing | None = None  # likewise, once the Chinese verb has come
        self.standing: Standing | None = None

    # --- one phrase after another ----------------------------------------------------------
    def take(self, atom: Atom, following: Atom) -> None:
        """Read one atom; the one that follows tells 滚动的球 from 滚动."""
        if not atom.senses:
            if not atom.known:
                self._stranger()
            return
        sense = atom.senses[0]
        match sense.role:
            case "det" | "adjective" | "noun" | "after":
                self._name(sense, any(s.role == "after" for s in following.senses))
            case "verb" | "camera verb":
                if any(s.role == "of" for s in following.senses):
                    self.way = tuple(s for s in atom.senses if s.role == "verb")
                else:
                    self._verb(atom.senses)
            case "adverb":
                for name, value in sense.facts:
                    self._adverb(name, value)
            case "fact" | "shots":
                self._aside()
                self.scene.update(sense.facts)
            case "order" | "same":
                self._introduce()
                self.order = self.told_order if sense.role == "same" else sense.value
                self._begin()
            case "it":
                self._introduce()
                self.subjects = list(self.topic)
            case "break":
                self._break()
            case "and" | "both" | "is" | "are":
                self._introduce()
                self.joined |= sense.role == "and"
                self.many &= sense.role != "is"
                if sense.value == "all" and len(self.subjects) == 2:
                    self.subjects = list(self.listed)  # "a ball, a cube and a cone all fall"
                if sense.role == "is":
                    self.listed = []
            case "pair" | "pair by" | "into" | "by":
                self._pair(sense)
            case "relation" | "at" | "postposition":
                self._stand(sense)
            case "of":
                pass  # read with the verb before it
            case _:
                self._film(sense)

    def _film(self, sense: Sense) -> None:
        """Take a word of the film: "the camera", "static shot", "cut to"."""
        self._introduce()
        if sense.role == "shot":
            self._move_camera(sense)
            return
        self._begin()
        self.camera, self.order = True, None
        if sense.role == "transition":
            self.shot += 1
            self.scene["shots"] = str(self.shot + 1)
            if sense.value:
                self.scene[f"shot{self.shot}.transition"] = sense.value

    # --- names -----------------------------------------------------------------------------
    def _name(self, sense: Sense, goes_on: bool) -> None:
        """Take a word of a name: "a", "red", "ball", "with stripes"."""
        if sense.role == "after" and self.noun is None and self.things:
            self.things[-1].facts.update(sense.facts)
            return
        if sense.role == "det":
            if self.noun is not None and self.noun.facts:
                self._introduce()
            self.noun = self.noun or Thing()
            self.noun.det.update(sense.facts)
            return
        # "the ball is red": an adjective that begins no name tells of the subject
        begins = self.noun or self.joined or self._awaited() or self.doers is not None
        if sense.role == "adjective" and self.subjects and not begins:
            self.subjects[-1].facts.update(sense.facts)
            return
        self.noun = self.noun or Thing()
        self.noun.facts.update(sense.facts)
        self.noun.named |= sense.role in ("noun", "after")
        if self.noun.named and not goes_on:
            self._introduce()

    def _awaited(self) -> bool:
        """Whether something told still lacks a name."""
        return any((self.mover, self.struck, self.by, self.standing))

    def _stranger(self) -> None:
        """Take an unknown word: where a name may stand it is one, elsewhere it is nothing."""
        if self.noun is None:
            if self.camera or (self.subjects and not (self.joined or self._awaited())):
                return
            self.noun = Thing()
        self.noun.named = True

    def _aside(self) -> None:
        """End a name that is complete before something that no clause needs."""
        if self.noun is not None and (self.noun.named or self.noun.facts):
            self._introduce()

    def _resolve(self, noun: Thing) -> list[Thing]:
        """Find the things that a name means: known ones, or new ones that are added."""
        which, number = noun.det.get("det"), int(noun.det.get("number", "1"))
        heap = noun.det.get("pile")
        domino = noun.facts.get("shape") == "domino"
        if heap == "row" and "shape" in noun.facts and not domino:
            heap = None  # "a row of five balls": five things
        if heap is not None:
            noun.facts["pile"] = heap
        if number > 1 and (heap is not None or domino):
            noun.facts["count"], number = str(number), 1
        if which not in (None, "new"):
            looks = {n: v for n, v in noun.facts.items() if n in LOOKS and n != "count"}
            found = matches(looks, [thing.looks() for thing in self.things])
            if which == "the" and found:
                return [self.things[found[-1]]]
            if which != "the" and len(found) >= int(str(which)):
                return [self.things[found[int(str(which)) - 1]]]
        new = [Thing(dict(noun.facts), named=noun.named) for _ in range(number)]
        self.things += new
        return new

    def _introduce(self) -> None:
        """End the name in progress, if there is one, and give its things their part."""
        noun, self.noun = self.noun, None
        if noun is None or not (noun.facts or noun.named):
            return  # "a video": an article alone
        meets = self.mover is not None and self.mover[0].facts.get("motion") == self.mover[1]
        if self.mover is not None and not noun.facts and not meets:
            self.mover = None  # "rolls into view" is no collision
            return
        things = self._resolve(noun)
        joined, self.joined = self.joined, False
        self.camera = False
        if self.mover is not None:
            self._meet(self.mover[0], self.mover[1], things[0])
            self.mover, self.subjects = None, []
            return
        if self.standing is not None:
            self.standing.others += things
            self._stood(self.standing)
            return
        if self.waiting is not None:
            place, self.waiting = self.waiting, None
            self.relations.append((str(place.name), things[0], tuple(place.others)))
        if self.struck is not None:
            self._meet(things[0], self.struck[1], self.struck[0])
            self.struck, self.subjects, self.topic = None, things, things
            return
        self.subjects = self.subjects + things if joined and self.doers is None else things
        self.topic = list(self.subjects)
        self.listed += things
        self.many, self.doers = True, None
        if self.way:
            way, self.way = self.way, ()
            self._tell(way, self.subjects[-1:])
            self.doers = None

    # --- where things stand ----------------------------------------------------------------
    def _stand(self, sense: Sense) -> None:
        """Take "left of", 在, or 的左边."""
        self._introduce()
        if sense.role == "postposition":
            place = self.standing or Standing(None, None, self.subjects)
            place.name = sense.value
            self.standing = place
            self._stood(place)
            return
        name = sense.value if sense.role == "relation" else None
        self.standing = Standing(name, self.subjects[-1] if self.subjects else None)

    def _stood(self, place: Standing) -> None:
        """Keep a relation if all that it needs was named."""
        wanted = 2 if place.name == "between" else 1
        if place.name is None or len(place.others) < wanted:
            return
        self.standing, self.joined = None, False
        place.others = place.others[-wanted:]
        if place.subject is None:
            self.waiting, self.subjects, self.doers = place, [], None
        else:
            self.relations.append((place.name, place.subject, tuple(place.others)))
            self.subjects = [place.subject]

    # --- clauses ---------------------------------------------------------------------------
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
            self.scene.setdefault(f"shot{self.shot}.camera.speed", value)

    def _verb(self, senses: Sequence[Sense]) -> None:
        """Take a verb: "roll left" is the camera's or an object's, by who is its subject."""
        self._introduce()
        own = [s for s in senses if s.role == "verb"]
        cameras = [s for s in senses if s.role == "camera verb"]
        form = senses[0].form
        follows = self.order == "later" and self.topic
        if (
            self.camera
            or not own
            or (form == "base" and cameras and not self.subjects and not follows)
        ):
            # "a car turns left" is no camera move, but "a red ball, pan left" is one
            if cameras and (self.camera or not self.subjects or form == "base"):
                self._move_camera(cameras[0])
            return
        if not self.subjects:  # "a red ball, then rolls left": what was told of last
            if not self.topic:
                self.topic = [Thing()]
                self.things += self.topic
            if self.order is None and "motion" in self.topic[-1].facts:
                return
            self.subjects = list(self.topic)
            self._tell(own, self.subjects)
            return
        self._tell(own, self._doers(form))

    def _doers(self, form: Form) -> list[Thing]:
        """Choose who of the subjects does a verb: all, or the last if the verb is of one."""
        if form == "third" or (form in ("ing", "passive") and not self.many):
            return self.subjects[-1:]
        return self.subjects

    def _tell(self, senses: Sequence[Sense], doers: Sequence[Thing]) -> None:
        """State what some things do, first or after that; "move" is what their shapes can do."""
        for thing in doers:
            shape = thing.facts.get("shape")
            motions = tuple(dict.fromkeys(dict(s.facts)["motion"] for s in senses))
            if len(motions) > 1 and shape is not None:
                motions = tuple(m for m in motions if shape in CAN[m]) or motions
            facts = dict(next(s.facts for s in senses if dict(s.facts)["motion"] == motions[0]))
            motion = facts.pop("motion")
            if shape == "domino" and motion in ("fall", "topple"):
                motion = "dominoes"
            told = thing.facts.get("motion")
            if told == "collide" or (told is None and len(motions) > 1):
                if told is None:
                    thing.open["motion"] = motions
            elif told is None:
                thing.facts["motion"] = motion
            elif told != motion:
                thing.facts.setdefault("then", motion)
            thing.facts.update(facts)
            self._place_in_time(thing, told is None)
        self.topic = list(doers)
        self._done(doers)

    def _place_in_time(self, thing: Thing, begins: bool) -> None:
        """Give what a thing begins to do the order of its clause."""
        if begins and self.order is not None:
            thing.facts["order"] = self.order
        if begins:
            self.told_order = self.order

    def _done(self, doers: Sequence[Thing]) -> None:
        """End a verb: what was said before it of its manner is its doers'."""
        self.order = None
        self.listed = []
        self.doers = list(doers)
        adverbs, self.adverbs = self.adverbs, {}
        for name, value in adverbs.items():
            self._adverb(name, value)

    def _move_camera(self, sense: Sense) -> None:
        for name, value in sense.facts:
            self.scene[f"shot{self.shot}.{name}"] = value
        self._done(())

    # --- things that meet --------------------------------------------------------------------
    def _pair(self, sense: Sense) -> None:
        """Take "hits", "is hit by", "into", or 被, and find who does it to whom."""
        self._introduce()
        if self.camera or (sense.role in ("into", "by") and not self.subjects):
            return
        if not self.subjects:
            if not self.topic:
                self.topic = [Thing()]
                self.things += self.topic
            self.subjects = self.topic[-1:]  # 红球向左滚动，撞上蓝球
        last = self.subjects[-1]
        if sense.role == "by":
            self.by, self.doers = last, None
        elif sense.role == "pair by":
            self.struck = last, sense.value
        elif sense.role == "into":
            self.mover = (last, "collide") if self.doers else None
        elif self.by is not None:
            self._meet(last, sense.value, self.by)
            self.by = None
        else:
            self.mover, self.joined = (last, sense.value), False
            self._set_motion(last, sense.value)
            self._done([last])

    def _meet(self, mover: Thing, motion: str, partner: Thing) -> None:
        self._set_motion(mover, motion)
        mover.partner = partner
        self._done([mover])

    def _set_motion(self, thing: Thing, motion: str) -> None:
        begins = "motion" not in thing.facts
        thing.facts["motion"] = motion
        thing.open.pop("motion", None)
        self._place_in_time(thing, begins)
