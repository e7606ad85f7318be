"""The facts of latent cells: what is asked, of which cells, and that answers can be learnt."""

from __future__ import annotations

import pytest
import torch

from kineograph.presets import TINY
from kineograph.train.facts import FactHead, answer_tables, fact_loss
from kineograph.train.world1 import FirstWorld
from kineograph.train.world2 import SecondWorld
from kineograph.train.worlds import UNASKED, World
from kineograph.world.draw import draw_scene
from kineograph.world.scene import CAMERA_MOVES
from kineograph.world.styles import COLOURLESS

WORLD = FirstWorld()
FACTS = WORLD.seen
SCENES = [draw_scene(seed, count=1 + seed % 2) for seed in range(4)]


def certain(cells: torch.Tensor, value: float = 20.0) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return logits that give the right answer to everything."""
    tables = answer_tables(WORLD, SCENES).clamp_min(0)
    logits = []
    for table, answers in zip(tables, FACTS.values(), strict=True):
        key = table.gather(1, cells.flatten(1).long()).view(cells.shape)
        one_hot = torch.nn.functional.one_hot(key, 1 + len(answers))
        logits.append(value * one_hot.permute(0, 4, 1, 2, 3).float())
    camera = torch.zeros(len(SCENES), len(CAMERA_MOVES))
    for i, scene in enumerate(SCENES):
        camera[i, CAMERA_MOVES.index(scene.camera.move)] = value
    return logits, camera


def cells_of(frames: int) -> torch.Tensor:
    cells = torch.zeros(len(SCENES), frames, 2, 4, dtype=torch.uint8)
    cells[:, :, 0, 1] = 1
    cells[1::2, :, 1, 2] = 2  # scenes with two objects
    return cells


@pytest.mark.parametrize("world", [FirstWorld(), SecondWorld()], ids=["first", "second"])
def test_answers_are_those_of_the_object_in_the_cell(world: World):
    scenes = [world.imagine(seed) for seed in range(12)]
    tables = dict(zip(world.seen, answer_tables(world, scenes), strict=True))
    assert all((table[:, 0] == 0).all() for table in tables.values())
    for i, scene in enumerate(scenes):
        for k, thing in enumerate(scene.objects, 1):
            for name, answers in world.seen.items():
                answer, value = int(tables[name][i, k]), getattr(thing, name)
                hidden = name == "colour" and getattr(scene, "style", "") in COLOURLESS
                if value is None or hidden:
                    assert answer == UNASKED
                else:
                    assert answers[answer - 1] == value
        assert all((table[i, 1 + len(scene.objects) :] == 0).all() for table in tables.values())


def test_right_answers_cost_nothing_and_wrong_ones_something():
    cells = cells_of(2)
    logits, camera = certain(cells)
    loss, right = fact_loss(logits, camera, cells, SCENES, WORLD)
    assert float(loss) < 1e-6
    assert right == {"shape_named": 1.0, "motion_named": 1.0}
    for fact in range(len(FACTS)):
        wrong = [-x if i == fact else x for i, x in enumerate(logits)]
        assert float(fact_loss(wrong, camera, cells, SCENES, WORLD)[0]) > 1
    assert float(fact_loss(logits, -camera, cells, SCENES, WORLD)[0]) > 1


def test_a_single_frame_is_not_asked_what_moves():
    cells = cells_of(1)
    logits, camera = certain(cells)
    named = zip(FACTS, logits, strict=True)
    unsure = [torch.zeros_like(x) if k in WORLD.moving else x for k, x in named]
    loss, right = fact_loss(unsure, torch.zeros_like(camera), cells, SCENES, WORLD)
    assert float(loss) < 1e-6 and set(right) == {"shape_named"}


def test_cells_without_objects_count_as_much_as_those_with():
    cells = cells_of(1)
    logits, camera = certain(cells)
    shape = logits[0].clone()
    full, _ = fact_loss([torch.zeros_like(shape), *logits[1:]], camera, cells, SCENES, WORLD)
    shape.permute(0, 2, 3, 4, 1)[cells > 0] = 0
    near, _ = fact_loss([shape, *logits[1:]], camera, cells, SCENES, WORLD)
    assert float(near) == pytest.approx(float(full) / 2, rel=1e-4)


def test_cells_are_read_where_they_lie():
    head = FactHead(TINY.dit, WORLD, torch.Generator().manual_seed(0))
    tokens = torch.zeros(1, 2 * 2 * 3, TINY.dit.dim)
    tokens[0, 1 * 6 + 1 * 3 + 2] = torch.randn(TINY.dit.dim)  # frame 1, row 1, column 2 of patches
    logits, camera = head(tokens, (2, 4, 6))
    plain, _ = head(torch.zeros_like(tokens), (2, 4, 6))
    for a, b, answers in zip(logits, plain, FACTS.values(), strict=True):
        assert a.shape == (1, 1 + len(answers), 2, 4, 6)
        changed = ((a - b).abs().amax(1)[0] > 1e-6).nonzero()
        assert changed.amin(0).tolist() == [1, 2, 4] and changed.amax(0).tolist() == [1, 3, 5]
    assert camera.shape == (1, len(CAMERA_MOVES))
