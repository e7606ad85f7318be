"""Schedules rise, hold and fall; recipe files are read or refused in one line."""

from __future__ import annotations

import pytest

from kineograph.errors import RequestError
from kineograph.presets import PRESETS
from kineograph.train.recipe import (
    ClipRecipe,
    DiTRecipe,
    FewStepRecipe,
    InterpolatorRecipe,
    LatentRecipe,
    Schedule,
    TextRecipe,
    TokenizerRecipe,
    UpsamplerRecipe,
    VaeRecipe,
    load_recipe,
)

NANO = ("vae_first", "vae", "tokenizer", "text", "latents", "dit", "upsampler")  # its stages
KINDS = {
    "clips": ClipRecipe,
    "vae_first": VaeRecipe,
    "vae": VaeRecipe,
    "text": TextRecipe,
    "tokenizer": TokenizerRecipe,
    "latents": LatentRecipe,
    "dit": DiTRecipe,
    "fewstep": FewStepRecipe,
    "upsampler": UpsamplerRecipe,
    "interpolator": InterpolatorRecipe,
}


def test_the_rate_warms_up_holds_and_falls_to_nothing():
    schedule = Schedule(100, warmup=10, decay_share=0.4)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:61] == [1.0] * 51
    assert rates[60:] == pytest.approx([(100 - i) / 40 for i in range(60, 100)])
    assert rates[-1] == pytest.approx(1 / 40)


@pytest.mark.parametrize(
    "schedule",
    [Schedule(1), Schedule(10, warmup=0), Schedule(10, decay_share=0.0), Schedule(30, warmup=50)],
)
def test_rates_stay_in_bounds_at_the_edges(schedule):
    assert all(0 < schedule.rate(step) <= 1 for step in range(schedule.steps))


def test_a_recipe_is_what_its_file_says(tmp_path):
    path = tmp_path / "vae.py"
    path.write_text(
        "from kineograph.train.recipe import Schedule, VaeRecipe\n"
        "RECIPE = VaeRecipe('tiny', Schedule(3), batch=2)\n"
    )
    assert load_recipe(path, VaeRecipe) == VaeRecipe("tiny", Schedule(3), batch=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, ["recipe.py", "not a file"]),
        ("", ["RECIPE", "VaeRecipe", "None"]),
        ("RECIPE = 3", ["VaeRecipe", "not 3"]),
        (
            "from kineograph.train.recipe import LatentRecipe\nRECIPE = LatentRecipe('tiny', 3)",
            ["VaeRecipe", "LatentRecipe(model='tiny'"],
        ),
        ("RECIPE = (", ["recipe.py", "SyntaxError", "line 1"]),
        ("import nothing_of_this_name", ["ModuleNotFoundError", "nothing_of_this_name"]),
        ("RECIPE = 1 / 0", ["ZeroDivisionError"]),
        (
            "from kineograph.train.recipe import LatentRecipe as R\nRECIPE = R('m', 3, size=3)",
            ["TypeError", "size"],
        ),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(tmp_path, text, said):
    path = tmp_path / "recipe.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RequestError) as refused:
        load_recipe(path, VaeRecipe)
    assert all(part in str(refused.value) for part in said)


@pytest.mark.parametrize("stage", NANO)
def test_the_published_recipes_are_recipes(root, stage):
    recipe = load_recipe(root / "runs" / "nano" / f"{stage}.py", KINDS[stage])
    assert recipe.model == "nano"
    assert recipe.model in PRESETS


def test_the_recipes_of_a_folder_are_of_one_model(root):
    paths = sorted((root / "runs").glob("*/*.py"))
    assert {path.parent.name for path in paths} >= {"nano", "small"}
    for path in paths:
        recipe = load_recipe(path, KINDS[path.stem.removesuffix("_on")])
        assert recipe.model == path.parent.name.partition("-")[0]
