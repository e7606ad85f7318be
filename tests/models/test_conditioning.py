import pytest
import torch

from kineograph.models.conditioning import Conditioning

CONTEXT = torch.zeros(2, 4, 3)


def test_known_frames_have_sigma_0_and_are_put_in():
    known = torch.full((2, 3, 4, 1, 1), 7.0)
    mask = torch.zeros(2, 4, dtype=torch.bool)
    mask[0, 0] = mask[1, 3] = True
    given = Conditioning(CONTEXT, known, mask)
    sigma = given.frame_sigma(torch.tensor([0.5, 0.25]))
    assert sigma.tolist() == [[0.0, 0.5, 0.5, 0.5], [0.25, 0.25, 0.25, 0.0]]
    latent = given.insert(torch.zeros(2, 3, 4, 1, 1))
    assert torch.equal(latent[:, 0, :, 0, 0] == 7, mask)


def test_without_known_frames_nothing_changes():
    latent, sigma = torch.ones(2, 3, 4, 1, 1), torch.tensor([0.5, 0.25])
    assert Conditioning(CONTEXT).insert(latent) is latent
    assert Conditioning(CONTEXT).frame_sigma(sigma) is sigma


def test_known_frames_need_their_mask():
    with pytest.raises(AssertionError):
        Conditioning(CONTEXT, known=torch.zeros(2, 3, 4, 1, 1))
