"""Which combinations of attributes training never sees, so that tests can ask for them.

Hold-outs are decided on canonical attributes and apply to every object of a clip, the
bystanders too: a held combination must not slip in as scenery.

- pair (colour x shape): a Latin-square rule holds 5 of the 50 pairs, one for each shape,
  and no colour loses more than one. Every colour and every shape is still seen with all
  the others (the question of CLEVR-CoGenT, arXiv 1612.06890).
- triple (colour x shape x motion): 10 % by hash, of the pairs that are seen. The world
  never draws some triples (a cube does not roll); they are hashed all the same.
- phrasing: held words and clause orders live in `lexicon.py` and the grammars, as the
  second field of each `Words`.

Decisions depend on the names and SPLITS_VERSION only, never on a process's hash seed.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from kineograph.world.scene import COLOURS, MOTIONS, SHAPES, Scene

SPLITS_VERSION = 1
TRIPLE_SHARE = 0.10

Split = Literal["train", "pair", "triple"]


def _unit_hash(*names: str) -> float:
    """A number in [0, 1) that depends on the names and the version alone."""
    key = "|".join((f"splits-{SPLITS_VERSION}", *names)).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64


def held_pair(colour: str, shape: str) -> bool:
    """Whether training never sees this colour on this shape; ValueError on unknown names."""
    # 3 is coprime to the 10 colours, so the five shapes hold five different colours.
    return COLOURS.index(colour) == (3 * SHAPES.index(shape) + 1) % len(COLOURS)


def held_triple(colour: str, shape: str, motion: str) -> bool:
    """Whether training never sees this seen pair do this; ValueError on unknown names.

    False for a held pair: such a clip belongs to the pair split.
    """
    if motion not in MOTIONS:
        raise ValueError(f"motion {motion!r} is not one of {', '.join(MOTIONS)}")
    if held_pair(colour, shape):
        return False
    return _unit_hash("triple", colour, shape, motion) < TRIPLE_SHARE


def split_of(scene: Scene) -> Split:
    """The split that a clip belongs to; a held pair outranks a held triple."""
    if any(held_pair(o.colour, o.shape) for o in scene.objects):
        return "pair"
    if any(held_triple(o.colour, o.shape, o.motion) for o in scene.objects):
        return "triple"
    return "train"


def is_training(scene: Scene) -> bool:
    """Whether no object of the clip is held out."""
    return split_of(scene) == "train"
