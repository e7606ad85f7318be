from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from kineograph.errors import RequestError
from kineograph.outputs import FORMATS
from kineograph.presets import NANO, PRESETS
from kineograph.request import (
    MAX_SEED,
    SOLVERS,
    GenerationRequest,
    ResolvedRequest,
    changed,
    option_of,
)
from kineograph.resolving import fresh_seed, resolve
from kineograph.spec import ASPECT_RATIOS, InterpolatorConfig

BALL = GenerationRequest("a red ball")


def resolved(**changes: object) -> ResolvedRequest:
    return resolve(replace(BALL, **changes), NANO, new_seed=lambda: 7)


@pytest.mark.parametrize("spec", PRESETS.values(), ids=PRESETS)
def test_an_open_request_takes_the_defaults_of_the_row(spec):
    ball = replace(BALL, **{way: "a.png" for way in spec.needs})
    got = resolve(ball, spec, new_seed=lambda: 7)
    assert got.seed == 7
    for name in ("num_frames", "fps", "steps", "shift", "guidance_scale", "solver"):
        assert getattr(got, name) == getattr(spec, name)
    size = spec.sizes["16:9" if spec.hub else "1:1"]  # as the open models are made for
    assert (got.height, got.width) == (size.height, size.width)
    assert got.resolution == (spec.resolution or None)
    assert (got.out_height, got.out_width) == (size.out_height, size.out_width)
    assert got.duration == spec.num_frames / spec.fps
    assert (got.model, got.negative_prompt, got.count) == (spec.name, spec.negative_prompt, 1)
    assert (got.format, got.output) == ("mp4", "a-red-ball.mp4")


def test_a_model_with_an_interpolator_delivers_twice_as_many_frames_a_second():
    spec = replace(NANO, interpolator=InterpolatorConfig())
    assert (NANO.out_fps, spec.out_fps) == (10, 20)
    for asked, times in ((None, 2), (20, 2), (10, 1)):
        got = resolve(replace(BALL, fps=asked), spec)
        assert (got.fps, got.delivered_fps, got.times_fps) == (10, 10 * times, times)
        assert (got.num_frames, got.duration) == (25, 2.5)  # as the model makes them
        assert [got.delivered(n) for n in (1, 2, 25)] == [1, 1 + times, 1 + 24 * times]
    for fps in (5, 15, 40):
        with pytest.raises(RequestError, match=f"fps {fps} cannot be made; nano makes 10 or 20"):
            resolve(replace(BALL, fps=fps), spec)


def test_what_is_given_is_kept():
    given = GenerationRequest(
        prompt="  a Blue cube, 滚动 ",
        model="nano",
        aspect_ratio="9:16",
        duration=1.3,
        num_frames=13,
        fps=10,
        seed=MAX_SEED - 1,
        steps=3,
        guidance_scale=1.0,
        solver="heun",
        shift=4.5,
        negative_prompt="fog",
        image="first.png",
        last_image="last.png",
        count=2,
        format="gif",
        output="clips/cube.gif",
    )
    got = resolve(given, NANO)
    assert got.as_request() == given
    assert (got.out_height, got.out_width) == (320, 180)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": ""}, ["prompt is empty"]),
        ({"prompt": " \t\n"}, ["prompt is empty"]),
        ({"prompt": "x" * 401}, ["401", "at most 400"]),
        ({"prompt": "a \udcff ball"}, ["prompt", "\\udcff"]),
        ({"prompt": "a \0 ball"}, ["prompt", "\\x00"]),
        ({"negative_prompt": "x" * 401}, ["negative prompt", "at most 400"]),
        ({"aspect_ratio": "2:1"}, ["'2:1'", "16:9, 9:16, 1:1, 4:3, 3:4, 21:9"]),
        ({"solver": "rk45"}, ["'rk45'", "euler, heun, multistep, unipc"]),
        ({"solver": "x" * 999}, ["'xxx", "...", "euler"]),
        ({"format": "avi"}, ["'avi'", "mp4, webm, gif, png, image"]),
        ({"duration": 2.0}, ["2 s", "0.1, 0.5, 0.9, 1.3, 1.7, 2.1, 2.5 s"]),
        ({"duration": float("nan")}, ["nan", "2.5 s"]),
        ({"duration": float("inf")}, ["inf", "2.5 s"]),
        ({"duration": -0.5}, ["-0.5 s", "2.5 s"]),
        ({"num_frames": 24}, ["24", "1, 5, 9, 13, 17, 21, 25"]),
        ({"num_frames": 29}, ["29", "21, 25"]),
        ({"num_frames": 0}, ["0", "1 or more"]),
        ({"num_frames": 5, "duration": 2.5}, ["2.5 s", "25 frames", "5"]),
        ({"fps": 24}, ["24", "nano makes 10"]),
        ({"steps": 0}, ["steps 0", "1 to 1000"]),
        ({"steps": 1001}, ["steps 1001", "1 to 1000"]),
        ({"guidance_scale": 0.5}, ["guidance_scale 0.5", "1 to 30"]),
        ({"guidance_scale": float("nan")}, ["guidance_scale nan", "1 to 30"]),
        ({"shift": 0.0}, ["shift 0.0", "0.01 to 100"]),
        ({"count": 0}, ["count 0", "1 to 16"]),
        ({"count": 17}, ["count 17", "1 to 16"]),
        ({"seed": -1}, ["seed -1", f"0 to {MAX_SEED}"]),
        ({"seed": MAX_SEED + 1}, [f"0 to {MAX_SEED}"]),
        ({"seed": MAX_SEED, "count": 2}, ["2 clips", str(MAX_SEED)]),
        ({"image": "a.png", "num_frames": 1}, ["num_frames 1", "image", "at least 5"]),
        (
            {"image": "a.png", "last_image": "b.png", "num_frames": 5},
            ["image and last_image", "at least 9"],
        ),
        ({"image": ""}, ["image ''"]),
        ({"last_image": "a\0b"}, ["last_image"]),
        ({"output": ""}, ["output ''"]),
        ({"output": "clip.avi"}, ["'clip.avi'", ".mp4, .webm, .gif", ".png for one picture"]),
        ({"output": "clip"}, ["'clip'", ".mp4, .webm, .gif", "or in / for a folder of PNG"]),
        ({"output": "frame.png"}, ["'frame.png'", "25 frames", "num_frames 1", "a folder"]),
        ({"format": "image"}, ["'a-red-ball.png'", "25 frames", "num_frames 1", "a folder"]),
        ({"output": "clip.gif", "format": "mp4"}, ["clip.gif", "gif", "mp4"]),
        ({"output": "clip.mp4", "format": "png"}, ["clip.mp4", "png"]),
        ({"output": "frames/", "format": "mp4"}, ["frames/", "png", "mp4"]),
        ({"model": "sora"}, ["'sora'", "'nano'"]),
    ],
)
def test_what_the_model_cannot_make_is_refused_by_value_and_allowed(changes, said):
    with pytest.raises(RequestError) as refusal:
        resolved(**changes)
    message = str(refusal.value)
    assert "\n" not in message
    assert len(message) < 300
    for part in said:
        assert part in message


@pytest.mark.parametrize("frames", NANO.allowed_frames())
def test_every_allowed_length_is_made_by_frames_and_by_duration(frames):
    by_frames = resolved(num_frames=frames)
    assert (
        by_frames == resolved(duration=frames / NANO.fps) == resolved(duration=by_frames.duration)
    )
    assert by_frames.num_frames == frames


def test_a_long_list_of_lengths_is_said_by_its_ends_and_step():
    long = replace(NANO, max_frames=1201)
    with pytest.raises(RequestError, match=r"0\.1 to 120\.1 in steps of 0\.4 s"):
        resolve(replace(BALL, duration=3.0), long)


def test_a_model_without_square_clips_takes_its_first_size():
    wide = replace(NANO, sizes={"16:9": NANO.sizes["16:9"]})
    assert resolve(BALL, wide).aspect_ratio == "16:9"
    with pytest.raises(RequestError, match=r"'1:1'; allowed: 16:9$"):
        resolve(replace(BALL, aspect_ratio="1:1"), wide)


@pytest.mark.parametrize(
    ("changes", "format", "output"),
    [
        ({"output": "a/b.webm"}, "webm", "a/b.webm"),
        ({"output": "b.GIF"}, "gif", "b.GIF"),
        ({"output": "frames/"}, "png", "frames"),
        ({"output": "frames", "format": "png"}, "png", "frames"),
        ({"output": "take.2", "format": "png"}, "png", "take.2"),
        ({"output": "b.webm", "format": "webm"}, "webm", "b.webm"),
        ({"format": "webm"}, "webm", "a-red-ball.webm"),
        ({"format": "png"}, "png", "a-red-ball"),
        ({"num_frames": 1}, "image", "a-red-ball.png"),
        ({"num_frames": 1, "format": "mp4"}, "mp4", "a-red-ball.mp4"),
        ({"num_frames": 1, "output": "b.PNG"}, "image", "b.PNG"),
        ({"num_frames": 1, "output": "b.webm"}, "webm", "b.webm"),
        ({"num_frames": 1, "output": "b/"}, "png", "b"),
        ({"output": "take.image", "format": "png"}, "png", "take.image"),
    ],
)
def test_the_format_and_the_file_agree(changes, format, output):
    got = resolved(**changes)
    assert (got.format, got.output) == (format, output)
    assert resolve(got.as_request(), NANO) == got


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A red ball, bouncing!", "a-red-ball-bouncing.mp4"),
        ("一个红球在格子地板上弹跳", "一个红球在格子地板上弹跳.mp4"),
        ("../../etc/passwd", "etc-passwd.mp4"),
        ("word " * 40, "-".join(["word"] * 12) + ".mp4"),
        ("x" * 300, "x" * 60 + ".mp4"),
        ("!?", "clip.mp4"),
    ],
)
def test_a_file_is_named_by_the_words_of_its_prompt(prompt, name):
    assert resolved(prompt=prompt).output == name


def test_a_seed_is_drawn_only_where_none_is_given():
    def refuse() -> int:
        raise AssertionError("a seed was drawn")

    assert resolve(replace(BALL, seed=3), NANO, new_seed=refuse).seed == 3
    drawn = {fresh_seed() for _ in range(8)}
    assert len(drawn) > 1
    assert all(0 <= seed <= MAX_SEED for seed in drawn)


def test_each_clip_of_several_has_its_own_seed_and_file():
    assert resolved().clips() == [resolved()]
    clips = resolved(count=3, output="out/ball.gif").clips()
    assert [clip.seed for clip in clips] == [7, 8, 9]
    assert [clip.output for clip in clips] == [f"out/ball-{i}.gif" for i in (1, 2, 3)]
    assert {clip.count for clip in clips} == {1}
    pictures = resolved(count=2, num_frames=1).clips()
    assert [clip.output for clip in pictures] == ["a-red-ball-1.png", "a-red-ball-2.png"]
    assert [clip.output for clip in resolved(count=2, output="v1.5/").clips()] == [
        "v1.5-1",
        "v1.5-2",
    ]


def test_requests_survive_json():
    some = replace(BALL, seed=5, duration=2.5, image="a.png")
    assert GenerationRequest.from_dict(json.loads(json.dumps(some.to_dict()))) == some
    assert BALL.to_dict() == {"prompt": "a red ball"}
    full = resolved(last_image="z.png")
    assert ResolvedRequest.from_dict(json.loads(json.dumps(full.to_dict()))) == full
    assert GenerationRequest.from_dict({"prompt": "x", "shift": 3, "seed": None}).shift == 3.0
    ways = replace(BALL, keyframes=("a.png@1", "b.png@2"), before="c.mp4")
    assert GenerationRequest.from_dict(json.loads(json.dumps(ways.to_dict()))) == ways
    for changes in (
        {"keyframes": ("a.png@1", "b.png@2"), "before": "c.mp4"},
        {"loop": True},
        {"video": "a.mp4", "strength": 0.3},
    ):
        full = resolved(**changes)
        assert ResolvedRequest.from_dict(json.loads(json.dumps(full.to_dict()))) == full
        assert resolve(full.as_request(), NANO) == full


def test_what_is_asked_for_and_what_is_left_out_are_the_same_record():
    assert resolved(loop=False, keyframes=()) == resolved()
    older = {k: v for k, v in resolved().to_dict().items() if k not in ("loop", "keyframes")}
    assert ResolvedRequest.from_dict(older) == resolved()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "'prompt' is missing"),
        (["prompt"], "must be an object of fields, not ['prompt']"),
        ({"prompt": "x", "ratio": "1:1"}, "unknown field 'ratio'; allowed: prompt, model"),
        ({"prompt": 3}, "prompt 3 must be of type str"),
        ({"prompt": None}, "prompt None must be of type str"),
        ({"prompt": "x", "steps": "9"}, "steps '9' must be of type int"),
        ({"prompt": "x", "steps": 9.5}, "steps 9.5 must be of type int"),
        ({"prompt": "x", "steps": True}, "steps True must be of type int"),
        ({"prompt": "x", "shift": True}, "shift True must be of type float"),
        ({"prompt": "x", "shift": 10**400}, "must be of type float"),
        ({"prompt": "x", "loop": 1}, "loop 1 must be of type bool"),
        ({"prompt": "x", "keyframes": "a@1"}, "keyframes 'a@1' must be of type list of strings"),
        ({"prompt": "x", "keyframes": [1]}, "keyframes [1] must be of type list of strings"),
        ({"prompt": "x", "strength": "all"}, "strength 'all' must be of type float"),
    ],
)
def test_json_that_is_no_request_is_refused(data, said):
    with pytest.raises(RequestError) as refusal:
        GenerationRequest.from_dict(data)
    assert said in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_flags_beside_a_sidecar_overrule_what_they_contradict():
    recorded = resolved(output="ball.mp4").as_request()
    assert changed(recorded, {}) == recorded
    assert resolve(changed(recorded, {"duration": 0.5}), NANO).num_frames == 5
    assert resolve(changed(recorded, {"num_frames": 5}), NANO).duration == 0.5
    assert resolve(changed(recorded, {"output": "b.gif"}), NANO).format == "gif"
    assert resolve(changed(recorded, {"format": "gif"}), NANO).output == "a-red-ball.gif"
    assert changed(recorded, {"seed": 9}) == replace(recorded, seed=9)


def test_the_words_of_a_request_are_those_of_the_parts_that_carry_them_out():
    from kineograph.flow import solvers

    assert tuple(solvers.SOLVERS) == SOLVERS
    help = {field.name: option_of(field).help for field in fields(GenerationRequest)}
    assert all(len(text) > 10 for text in help.values())
    for name, words in (("aspect_ratio", ASPECT_RATIOS), ("solver", SOLVERS), ("format", FORMATS)):
        assert all(word in help[name] for word in words)
    for spec in PRESETS.values():
        assert spec.solver in SOLVERS
        for sizes in spec.resolutions.values():
            assert set(sizes) <= set(ASPECT_RATIOS)
            for size in sizes.values():
                stride = spec.vae.spatial_stride * spec.dit.patch_size[1]
                assert size.height % stride == 0 == size.width % stride
                assert size.out_height % 2 == 0 == size.out_width % 2
                scale = 1 if spec.upsampler is None else spec.upsampler.scale
                assert size.enlarged in {scale**n for n in range(5)}
        assert spec.num_frames in spec.allowed_frames()
