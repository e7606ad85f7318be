"""Frames against what they show: places, shadows, mirrors, edges; and against themselves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kineograph.world.gbuffer import FIRST_OBJECT, FLOOR, SKY
from kineograph.world.v2 import kernels
from kineograph.world.v2.camera import project, track
from kineograph.world.v2.draw import draw_scene, picture_size
from kineograph.world.v2.film import blend, colours, frame_times
from kineograph.world.v2.pack import pack
from kineograph.world.v2.render import join, render_chunks, render_frames, seen_parts
from kineograph.world.v2.scene import FLOORS, SIMPLE_SHAPES, Camera, Scene, SceneObject, Shot
from kineograph.world.v2.simulate import simulate
from kineograph.world.v2.weather import fall

BALL = SceneObject("ball", "red", "rubber", "large")
NOW = np.array([2.0])


def still(*things, places=None, **more):
    scene = Scene(
        5, things or (BALL,), more.pop("floor", "checkered"), more.pop("sky", "noon"), **more
    )
    return simulate(scene, places or [(1.6 * i, 0.0, 0.0) for i in range(len(scene.objects))])


def shot(play, size=64, times=NOW, **more):
    return render_frames(pack([play], [times]), size, size, **more)


@pytest.mark.parametrize("shape", SIMPLE_SHAPES)
def test_objects_are_where_they_project_to(shape):
    play = still(replace(BALL, shape=shape), places=[(0.5, 0.0, -0.4)])
    owner = shot(play, 96).owner[0]
    row, column = (torch.nonzero(owner == FIRST_OBJECT).double().mean(0) + 0.5).tolist()
    where = project(track(play.scene, NOW), play.pieces[0].position(NOW), 96, 96)[0]
    off = 6.0 if shape in ("cone", "pyramid") else 1.6  # their middle is below half height
    assert abs(column - where[0]) < 1.3
    assert abs(row - where[1]) < off


def test_the_buffer_tells_sky_floor_and_objects_apart():
    g = shot(still())
    owner, depth, normal = g.owner[0], g.depth[0], g.normal[0]
    assert (owner[0] == SKY).all()
    assert (owner[-1] == FLOOR).all()
    assert (depth[owner == SKY] > 1e6).all()
    assert (normal[owner == SKY] == 0).all()
    assert (normal[owner == FLOOR] == torch.tensor([0.0, 1.0, 0.0])).all()
    on_ball = owner == FIRST_OBJECT
    assert normal[on_ball].norm(dim=-1) == pytest.approx(1.0, abs=1e-4)
    # In the middle of a ball one looks straight at it, at its rim along it.
    assert g.facing[0][on_ball].max() > 0.98
    assert g.facing[0][on_ball].min() < 0.4
    assert (g.colour >= 0).all() and (g.colour <= 1).all()


def test_without_buffers_the_colours_are_the_same():
    play = still()
    frames = pack([play], [np.array([0.0, 1.0, 2.0])])
    full = render_frames(frames, 48, 80)
    bare = render_frames(frames, 48, 80, buffers=False)
    assert torch.equal(full.colour, bare.colour)
    assert not bare.normal.any()
    parts = list(render_chunks(frames, 48, 80, chunk_samples=48 * 80))
    assert len(parts) == 3
    assert torch.equal(join(parts).colour, full.colour)


def test_the_sun_casts_shadows_and_things_darken_what_they_touch():
    clear = shot(still(floor="snowy")).colour[0]
    far = shot(still(floor="snowy", places=[(60.0, 0.0, 0.0)])).colour[0]
    owner = shot(still(floor="snowy")).owner[0]
    darker = (far - clear).mean(-1)
    assert darker[owner == FLOOR].max() > 0.25
    assert (darker[owner == FLOOR] > -1e-3).double().mean() > 0.98  # but at the ball's rim


def test_still_water_mirrors_what_stands_on_it():
    column = shot(still(floor="water"), 96)
    owner = column.owner[0]
    middle = int(torch.nonzero(owner == FIRST_OBJECT)[:, 1].double().mean())
    low = int(torch.nonzero(owner[:, middle] == FIRST_OBJECT).max())
    with_ball = column.colour[0, low + 4 : low + 14, middle]
    bare = shot(still(floor="water", places=[(60.0, 0.0, 0.0)]), 96)
    without = bare.colour[0, low + 4 : low + 14, middle]
    redder = (with_ball[:, 0] - with_ball[:, 2]) - (without[:, 0] - without[:, 2])
    assert redder.mean() > 0.1


def test_edges_are_smooth_and_finer_frames_agree():
    play = still(replace(BALL, shape="pyramid"))
    small = shot(play, 64).colour
    fine = shot(play, 256).colour
    mean = fine.movedim(-1, 1).unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2)).movedim(1, -1)
    owner = shot(play, 64).owner
    near = owner == FIRST_OBJECT
    assert (small - mean).abs()[near].mean() < 0.025


@pytest.mark.parametrize("floor", FLOORS)
def test_every_floor_has_texture_near_the_camera(floor):
    picture = shot(still(floor=floor, places=[(60.0, 0, 0)]), 64).colour[0, 40:]
    assert picture.std(dim=(0, 1)).max() > 0.015


@pytest.mark.parametrize("ratio", ["1:1", "16:9", "9:16", "21:9"])
def test_any_aspect_ratio_has_about_the_same_area(ratio):
    height, width = picture_size(ratio, 128)
    assert height * width == pytest.approx(128 * 128, rel=0.07)
    assert height % 16 == width % 16 == 0
    scene, play = draw_scene(3, aspect_ratio=ratio, more="shot")
    first = next(colours(play, np.array([0.0, scene.seconds / 2]), height // 2, width // 2))
    assert first.shape == (2, height // 2, width // 2, 3)


def test_the_same_scene_gives_the_same_bits_alone_and_among_others():
    scene, play = draw_scene(21, more="shot")
    other = draw_scene(22, more="shot")[1]
    times = np.array([0.0, 1.5, scene.seconds])
    alone = render_frames(pack([play], [times]), 48, 48)
    both = render_frames(pack([other, play], [times, times]), 48, 48)
    assert torch.equal(alone.owner, both.owner[3:])
    assert (alone.colour - both.colour[3:]).abs().max() < 2e-6


def test_parts_are_seen_as_they_are_rendered():
    play = draw_scene(4, more="shot")[1]
    frames = pack([play], [NOW])
    part = seen_parts(frames, 48, 48)
    owner = render_frames(frames, 48, 48).owner
    assert torch.equal(part >= 0, owner >= FIRST_OBJECT)


def test_what_cannot_hide_the_sun_is_left_out_and_nothing_else(monkeypatch):
    plays = [draw_scene(i, count=4, more="shot")[1] for i in (30, 31, 32)]
    frames = pack(plays, [np.array([0.0, 2.5])] * 3)
    culled = render_frames(frames, 56, 72)  # tiles that are not full, too
    asked = []
    may_shade = kernels._may_shade

    def all_that_darkens(*args):
        dim, hide = may_shade(*args)
        asked.append((dim.sum(), hide.sum()))
        return dim, dim

    monkeypatch.setattr(kernels, "_may_shade", all_that_darkens)
    kernels._built.cache_clear()
    assert torch.equal(render_frames(frames, 56, 72).colour, culled.colour)
    kernels._built.cache_clear()
    assert sum(h for _, h in asked) < 0.7 * sum(d for d, _ in asked)


@pytest.mark.parametrize("weather", ["snow", "rain"])
def test_weather_falls_between_the_camera_and_the_scene(weather):
    play = still(weather=weather, floor="sandy")
    times = np.array([1.0, 1.1])
    frames = pack([play], [times])
    dry = render_frames(frames, 64, 64)
    wet = fall(dry, play.scene, times, track(play.scene, times))
    changed = (wet.colour - dry.colour).abs().amax(-1)
    assert 0.005 < (changed > 0.02).double().mean() < 0.4
    assert not torch.equal(changed[0], changed[1])
    again = fall(dry, play.scene, times, track(play.scene, times))
    assert torch.equal(again.colour, wet.colour)
    foggy = replace(play.scene, weather="fog")
    assert torch.equal(fall(dry, foggy, times, track(foggy, times)).colour, dry.colour)


FILM = (
    Shot(Camera(), 1.0),
    Shot(Camera("pan left", "fast"), 1.0, "cut"),
    Shot(Camera(), 1.0, "dissolve"),
    Shot(Camera(), 1.0, "fade"),
    Shot(Camera(), 1.0, "wipe"),
)


def test_transitions_take_their_time_around_a_cut():
    play = still(shots=FILM)
    plan = blend(play, frame_times(5.0))
    assert len(plan.first) == 61
    assert plan.first[11] == 0 and plan.first[12] == 1 and plan.share[12] == 0
    assert [plan.how[i] for i in (12, 24, 36, 48)] == ["cut", "dissolve", "fade", "wipe"]
    assert plan.share[24] == pytest.approx(0.5)
    assert (plan.first[24], plan.second[24]) == (1, 2)
    assert plan.first[-1] == 4


def test_transitions_show_both_shots():
    play = still(shots=FILM)

    def frames(*t):
        return torch.cat(list(colours(play, np.array(t), 48, 48)))[0].double()

    fade = frames(3.0)
    assert fade.max() < 3  # black between the two
    single = replace(play.scene, shots=FILM[:2])
    assert single.seconds == 2
    wipe_left, before = frames(4.0)[:, :16], frames(3.7)[:, :16]
    assert (wipe_left - before).abs().mean() > 2


def test_styles_reach_the_film():
    plain = torch.cat(list(colours(still(), NOW, 48, 48)))
    noir = torch.cat(list(colours(still(style="noir"), NOW, 48, 48)))
    assert (noir[..., 0].int() - noir[..., 2].int()).abs().max() <= 2
    assert (plain.int() - noir.int()).abs().double().mean() > 10
