import pytest
import torch
from torch import nn

from kineograph.evaluate import fitting
from kineograph.evaluate.fitting import Fitter, draw_weights


class Stop(Exception):
    pass


def fitted(folder, stop_at=None):
    """Train a small network for six steps, and return its weights; or stop it before one."""
    folder.mkdir(exist_ok=True)
    fitter = Fitter(folder, 3, 1e-2, 0.0, lambda line: None)
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    draw_weights(net, torch.Generator().manual_seed(0))
    steps = []

    def loss_of():
        steps.append(None)
        if len(steps) == stop_at:
            raise Stop
        x = torch.randn(16, 4, generator=fitter.generator) * fitter.rng.uniform(0.5, 2)
        return (net(x) - x.sum(1, keepdim=True)).square().mean()

    fitter.fit("net", net, 6, loss_of)
    return net.state_dict(), len(steps)


def test_training_that_was_stopped_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "SAY_EVERY", 2)
    whole, steps = fitted(tmp_path / "a")
    assert steps == 6
    with pytest.raises(Stop):
        fitted(tmp_path / "b", stop_at=6)
    assert not (tmp_path / "b" / "net.pt").exists()
    again, steps = fitted(tmp_path / "b")
    assert steps == 2  # from the copy after four
    assert all(torch.equal(whole[k], again[k]) for k in whole)
    assert {p.name for p in (tmp_path / "b").iterdir()} == {"net.pt"}
    assert fitted(tmp_path / "b")[1] == 0
