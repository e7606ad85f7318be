import json
from dataclasses import replace

import pytest

from kineograph.errors import RequestError, WeightsError
from kineograph.evaluate import progress as progress_module
from kineograph.evaluate import run as run_module
from kineograph.evaluate import sources
from kineograph.evaluate.judges import Judges, ObjectReading, Reading, save_judges
from kineograph.evaluate.progress import Progress
from kineograph.evaluate.report import SuiteResult, _area
from kineograph.evaluate.run import main
from kineograph.evaluate.scoring import JUDGES
from kineograph.evaluate.sources import Judged
from kineograph.evaluate.suites import SUITES, make_prompts


@pytest.fixture(scope="module")
def judges_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("judges") / "judges.safetensors"
    on_truth = {name: {"right": 99, "n": 100} for name in JUDGES}
    save_judges(path, Judges(), on_truth | {"floor": {"right": 90, "n": 100}})
    return path


def test_tiny_is_evaluated_and_a_second_run_makes_nothing_again(
    tmp_path, judges_path, monkeypatch, capsys
):
    def run():
        return main(
            "tiny", "physics", 2, tmp_path, judges_path=judges_path, compiled=False
        )

    report = run()
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(report))
    suite = report["suites"]["physics"]
    assert suite["prompts"] == 2
    assert "floor" not in suite["rows"]  # its judge is below the gate
    row = suite["rows"]["motion"]
    assert {"truth", "vae", "model", "shuffled", "constant"} == set(row)
    assert row["model"]["n"] == 2 and 0 <= row["model"]["low"] <= row["model"]["high"] <= 1
    assert row["constant"] == 1.0  # every prompt of the suite falls
    assert {"truth", "truth, camera known", "vae", "model", "shuffled"} <= set(suite["physics"])
    assert set(suite["area"]) == {"vae", "model"}
    page = (tmp_path / "report.html").read_text()
    assert "<img src='physics.png'" in page and (tmp_path / "physics.png").exists()
    assert "best constant" in page and "through VAE" in page
    assert "area / true area" in page
    assert "physics" in capsys.readouterr().out

    def refuse(*_):
        raise AssertionError("made again")

    monkeypatch.setattr(sources, "generate_batch", refuse)
    monkeypatch.setattr(sources, "through_vae", refuse)
    monkeypatch.setattr(sources, "render", refuse)
    assert run() == report


def test_areas_are_those_of_the_same_colour_in_the_truth():
    def judged(*areas: tuple[str, float]) -> Judged:
        things = tuple(ObjectReading(colour, "ball", "still", area) for colour, area in areas)
        return Judged(Reading(1, "plain", "noon", "static", things), ())

    truth = [judged(("red", 100.0), ("blue", 50.0)), judged(("green", 40.0)), judged(("red", 0.0))]
    model = [judged(("red", 150.0), ("pink", 9.0)), judged(("green", 100.0)), judged(("red", 7.0))]
    result = SuiteResult(SUITES["single"], [], {"truth": truth, "vae": truth[:0], "model": model})
    assert _area(result, "model") == (1.5 + 2.5) / 2
    lost = replace(result, judged={"truth": truth[:1], "model": [judged(("pink", 9.0))]})
    assert _area(lost, "model") is None


def test_another_judge_or_prompt_is_read_anew(tmp_path, judges_path):
    pipeline = run_module.load("tiny")
    prompts = make_prompts(SUITES["single"], 2)
    studio = sources.Studio(pipeline, Judges().eval(), "one", tmp_path, compiled=False)
    keys = {studio._key("truth", prompts), studio._key("vae", prompts)}
    keys |= {studio._key("model", prompts), studio._key("model", prompts[:1])}
    keys |= {studio._key("truth", prompts, judges=name) for name in ("one", "other")}
    assert len(keys) == 6
    path = tmp_path / "cut.npz"
    path.write_bytes(b"PK\x03\x04 cut short")
    assert sources._take_up(path, "key") is None


def test_clips_are_made_anew_for_other_weights_but_the_upsampler(tmp_path):
    plain = run_module.load("tiny")
    prompts = make_prompts(SUITES["single"], 1)

    def key(**hashes: str) -> str:
        named = {f"{name}.safetensors": value for name, value in hashes.items()}
        pipeline = replace(plain, hashes=named)
        studio = sources.Studio(pipeline, Judges().eval(), "one", tmp_path, compiled=False)
        return studio._key("model", prompts)

    assert key(dit="a", upsampler="a") == key(dit="a", upsampler="b") != key(dit="b", upsampler="a")


def test_a_batch_is_the_clips_one_by_one():
    # as `generate` makes them, but for the upsampler: up to what batching rounds
    pipeline = run_module.load("tiny")
    prompts = make_prompts(SUITES["single"], 2)
    both = sources.generate_batch(pipeline, prompts)
    for prompt, clip in zip(prompts, both, strict=True):
        (alone,) = sources.generate_batch(pipeline, [prompt])
        assert clip.shape == (25, 64, 64, 3)
        assert abs(clip.astype(int) - alone.astype(int)).max() <= 1


def test_bad_requests_are_refused_in_one_line(tmp_path, judges_path):
    with pytest.raises(RequestError, match=r"unknown suite 'no'; available: single, pair"):
        main("tiny", "no", 2, tmp_path, judges_path=judges_path)
    with pytest.raises(RequestError, match="600 prompts, not 601"):
        main("tiny", "single", 601, tmp_path, judges_path=judges_path)
    with pytest.raises(RequestError, match="unknown model 'no'"):
        main("no", "single", 2, tmp_path, judges_path=judges_path)
    with pytest.raises(WeightsError, match="train them with"):
        main("tiny", "single", 2, tmp_path, judges_path=tmp_path / "none")


def test_progress_tells_the_time_left_once_it_knows(monkeypatch):
    lines = []
    clock = iter(range(0, 10000, 20))
    monkeypatch.setattr(progress_module, "monotonic", lambda: float(next(clock)))
    progress = Progress({"truth": 24, "model": 24}, lines.append)
    progress.step("single", "truth", 12, 6.0, "12/24")
    assert "left" not in lines[-1]  # nothing is known yet of the model
    progress.step("single", "model", 12, 24.0, "12/24")
    assert lines[-1].endswith("12/24, about 30 s left")
