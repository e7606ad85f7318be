"""Camera moves go where they say, at the rate they say, and the projection is a pinhole's."""

from __future__ import annotations

import numpy as np
import pytest

from kineograph.world.camera import HALF_FOV, RATES, camera_track, focal_length, project
from kineograph.world.draw import CLIP_TIMES
from kineograph.world.physics import DURATION
from kineograph.world.scene import CAMERA_MOVES, SPEEDS, Camera, Scene, SceneObject

T = len(CLIP_TIMES)
SPAN = CLIP_TIMES[-1]
TARGET = np.array([0.0, 0.78, 0.0])


def track(move: str, speed: str | None = "normal", seed: int = 3, times=CLIP_TIMES):
    ball = SceneObject("ball", "red", "matte", "medium", "still")
    camera = Camera(move, None if move == "static" else speed)
    return camera_track(Scene(seed, (ball,), "checkered", "noon", camera), times)


def screen_course(camera, point: tuple[float, float, float]) -> np.ndarray:
    """Return how a still point goes over the screen, `t 2`."""
    return project(camera, np.broadcast_to(np.array(point), (T, 3)), 64, 64)[:, :2]


def turned(camera) -> float:
    """Return the angle (deg) between the first view and the last."""
    return float(np.degrees(np.arccos(camera.forward[0] @ camera.forward[-1])))


@pytest.mark.parametrize("move", CAMERA_MOVES)
def test_axes_are_orthonormal_and_upright(move):
    camera = track(move)
    axes = np.stack([camera.right, camera.up, camera.forward], 1)
    assert axes @ axes.transpose(0, 2, 1) == pytest.approx(np.broadcast_to(np.eye(3), (T, 3, 3)))
    assert np.abs(camera.right[:, 1]).max() == 0
    assert (camera.up[:, 1] > 0.8).all()
    # Right-handed with the view along -z: right x up points back at the viewer.
    assert np.cross(camera.right, camera.up) == pytest.approx(-camera.forward)


@pytest.mark.parametrize("move", CAMERA_MOVES)
def test_rates_are_those_of_their_speed_and_order(move):
    kind, _, way = move.partition(" ")
    if kind == "static":
        assert track(move).rate == 0
        return
    rates = [track(move, speed).rate for speed in SPEEDS]
    assert all((rate > 0) == (way in ("right", "up", "in")) for rate in rates)
    assert [abs(rate) for rate in rates] == sorted(abs(rate) for rate in rates)
    for rate, asked in zip(rates, RATES[kind].values(), strict=True):
        assert abs(rate) == pytest.approx(asked, rel=0.081)


def test_static_does_not_move():
    camera = track("static")
    for values in (camera.position, camera.right, camera.up, camera.forward):
        assert np.ptp(values, axis=0).max() == 0
    assert np.ptp(screen_course(camera, (0.5, 0.2, 1)), axis=0).max() == 0


@pytest.mark.parametrize("way", ["left", "right"])
def test_a_pan_turns_by_its_rate_and_moves_what_is_seen_the_other_way(way):
    camera = track(f"pan {way}")
    assert np.ptp(camera.position, axis=0).max() == 0
    yaw = np.degrees(np.arctan2(camera.forward[:, 0], -camera.forward[:, 2]))
    assert yaw[-1] - yaw[0] == pytest.approx(camera.rate * SPAN)
    # A point far off at the height of the lens, ahead at half time, goes by the angle asked for.
    ahead = camera.forward[T // 2] * [1, 0, 1]
    far = camera.position[0] + 1e6 * ahead / np.linalg.norm(ahead)
    col = screen_course(camera, tuple(far))[:, 0]
    seen = np.degrees(np.arctan((col - 32) / focal_length(1)))
    assert seen[0] - seen[-1] == pytest.approx(camera.rate * SPAN, rel=0.03)
    assert np.sign(col[-1] - col[0]) == (1 if way == "left" else -1)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_tilt_turns_by_its_rate_and_moves_what_is_seen_the_other_way(way):
    camera = track(f"tilt {way}")
    assert np.ptp(camera.position, axis=0).max() == 0
    assert turned(camera) == pytest.approx(abs(camera.rate) * SPAN)
    row = screen_course(camera, (0, 0.78, 0))[:, 1]
    assert np.sign(row[-1] - row[0]) == (1 if way == "up" else -1)
    assert np.ptp(np.arctan2(camera.forward[:, 0], -camera.forward[:, 2])) < 1e-12


@pytest.mark.parametrize(("way", "sign"), [("in", -1), ("out", 1)])
def test_a_dolly_changes_the_distance_by_its_rate_without_turning(way, sign):
    camera = track(f"dolly {way}")
    assert turned(camera) == pytest.approx(0, abs=1e-5)
    level = np.hypot(camera.position[:, 0], camera.position[:, 2])
    assert level[-1] - level[0] == pytest.approx(sign * abs(camera.rate) * SPAN)
    assert np.ptp(camera.position[:, 1]) == 0
    sizes = project(camera, np.broadcast_to(TARGET, (T, 3)), 64, 64)[:, 2]
    assert (np.diff(sizes) * -sign > 0).all()


@pytest.mark.parametrize(("way", "sign"), [("left", -1), ("right", 1)])
def test_a_truck_goes_sideways_at_its_rate_and_what_is_near_passes_faster(way, sign):
    camera = track(f"truck {way}")
    assert turned(camera) == pytest.approx(0, abs=1e-5)
    moved = camera.position[-1] - camera.position[0]
    assert moved @ camera.right[0] == pytest.approx(camera.rate * SPAN)
    assert np.linalg.norm(moved) == pytest.approx(abs(camera.rate) * SPAN)
    assert np.sign(camera.rate) == sign
    near, far = (np.diff(screen_course(camera, (0, 0.5, z))[[0, -1], 0])[0] for z in (1, -6))
    assert np.sign(near) == np.sign(far) == -sign
    assert abs(near) > 1.5 * abs(far)


@pytest.mark.parametrize(("way", "sign"), [("left", -1), ("right", 1)])
def test_an_orbit_keeps_its_distance_and_looks_at_the_middle(way, sign):
    camera = track(f"orbit {way}")
    level = np.hypot(camera.position[:, 0], camera.position[:, 2])
    assert np.ptp(level) < 1e-12
    angle = np.degrees(np.arctan2(camera.position[:, 0], camera.position[:, 2]))
    assert angle[-1] - angle[0] == pytest.approx(camera.rate * SPAN)
    assert np.sign(camera.position[-1, 0] - camera.position[0, 0]) == sign
    course = screen_course(camera, tuple(TARGET))
    assert course == pytest.approx(np.full((T, 2), 32.0))


@pytest.mark.parametrize("move", CAMERA_MOVES)
def test_every_move_has_the_subject_in_the_middle_at_half_time(move):
    camera = track(move, "fast", times=np.array([DURATION / 2]))
    seen = project(camera, TARGET[None], 64, 64)[0]
    assert seen[:2] == pytest.approx([32, 32])


def test_a_point_on_the_axis_is_in_the_middle_and_one_behind_has_no_size():
    camera = track("static")
    ahead, behind = (camera.position + d * camera.forward for d in (4.0, -4.0))
    assert project(camera, ahead, 48, 80)[0] == pytest.approx([40, 24, focal_length(1) / 4])
    assert project(camera, behind, 48, 80)[0, 2] == 0


def test_enlarging_multiplies_pixels():
    camera = track("orbit left")
    points = np.broadcast_to(np.array([0.4, 0.3, 0.2]), (T, 3))
    small, large = project(camera, points, 48, 80), project(camera, points, 192, 320, scale=4)
    assert large == pytest.approx(4 * small)


def test_64_pixels_span_the_field_of_view():
    camera = track("static")
    edge = camera.position + camera.forward + HALF_FOV * camera.right
    assert project(camera, edge, 64, 64)[0, :2] == pytest.approx([64, 32])
