import torch
from diffusers.models.embeddings import get_timestep_embedding

from kineograph.nn.embed import sigma_embedding


def test_equals_diffusers_at_1000_sigma():
    sigma = torch.tensor([0.0, 0.0005, 0.25, 0.731, 1.0])
    wanted = get_timestep_embedding(sigma * 1000, 32, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(sigma_embedding(sigma, 32), wanted, rtol=0, atol=2e-4)


def test_any_shape_of_sigma_is_embedded_elementwise():
    sigma = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    together = sigma_embedding(sigma, 8)
    assert together.shape == (2, 3, 8)
    torch.testing.assert_close(together[1, 2], sigma_embedding(sigma[1, 2:], 8)[0])


def test_close_noise_levels_differ_even_from_a_bfloat16_model():
    near = torch.tensor([0.501, 0.502])
    first, second = sigma_embedding(near, 64)
    assert (first - second).abs().max() > 0.5
