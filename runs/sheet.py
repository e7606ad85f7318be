"""Make the contact sheet of 24 fixed prompts that the README shows.

    python runs/sheet.py [--model nano] [--seed 1] [--out docs/media/sheet.jpg]

Prompts are in English and Chinese; the last four ask for pairs of colour and shape that
training never saw. The seed is the same for all and nothing is chosen among results.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from kineograph.generate import generate
from kineograph.media.sheet import contact_sheet
from kineograph.pipeline import load
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve

PROMPTS = (
    "a red ball bounces on a checkered floor",
    "一个蓝色的方块在木地板上向右滑动",
    "a large yellow cone stands still on a tiled floor at noon, the camera orbits left",
    "日落时分，一个粉色圆环在沙地上向左滚动",
    "an orange cube is thrown to the right on a checkered floor at sunset",
    "夜晚，一个青色的球从空中落下并弹起，固定镜头",
    "a purple cylinder slides left on a wooden floor, the camera pans right",
    "一个红色圆柱在草地上静止不动，镜头推近",
    "a striped green cube spins in place on a checkered floor at dawn",
    "一个黑色圆环原地旋转，镜头左移",
    "a small white ball rolls right quickly on grass at noon",
    "一个橙色的圆锥被抛向左边，镜头上仰",
    "a blue ball rolls left and hits a yellow cube on a tiled floor",
    "一个绿色的球滚向右边并撞上一个紫色的圆柱，棋盘格地面",
    "a cyan cone slides right and a red ball stands still on a sandy floor at sunset",
    "一个粉色的方块落下并弹起，一个白色圆柱静止不动",
    "a metal blue ring rolls right on a checkered floor, the camera dollies out",
    "正午，一个大的黄色金属球在棋盘格地面上弹跳",
    "a black cube falls and bounces on a plain floor, static camera",
    "a red cylinder, a white ball and a blue cone stand still on a wooden floor",
    "a red cone slides left on a checkered floor at noon",
    "一个橙色的球在木地板上向右滚动",
    "a green ring falls and bounces on a tiled floor",
    "一个青色的方块被抛向右边，棋盘格地面，镜头右摇",
)
FRAMES = 6
SHOWN = 112  # pixels a frame is shown at


def main() -> None:
    """Generate every prompt and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/media/sheet.jpg"))
    args = parser.parse_args()
    pipeline = load(args.model)
    clips = []
    for i, prompt in enumerate(PROMPTS):
        request = resolve(
            GenerationRequest(prompt=prompt, model=args.model, seed=args.seed), pipeline.spec
        )
        with torch.no_grad():
            clip = np.concatenate(list(generate(pipeline, request)))
        clips.append(clip[np.linspace(0, len(clip) - 1, FRAMES).round().astype(int)])
        print(f"{i + 1}/{len(PROMPTS)} {prompt}", flush=True)
    # Clips with half as many frames as there are columns stand two to a row.
    sheet = contact_sheet(clips, PROMPTS, 2 * FRAMES, scale=SHOWN / clips[0].shape[1])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.out, quality=86)


if __name__ == "__main__":
    main()
