import copy

import pytest
import torch

from kineograph.train.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 16, 64), (2, 64, 16)])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_singular_values_become_about_one_whatever_the_size(shape, size):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * size
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    # The square ones have singular values next to zero, which five steps do not lift to one.
    lifted = s / s[:, :1] > 0.05
    found = orthogonalise(matrices).float()
    values = torch.linalg.svdvals(found)
    assert float(values.max()) < 1.25
    diagonal = torch.diagonal(u.mT @ found @ v.mT, dim1=1, dim2=2)
    assert float(diagonal[lifted].min()) > 0.6


def test_singular_vectors_stay():
    matrices = torch.randn(1, 12, 20, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    cosine = torch.nn.functional.cosine_similarity(
        orthogonalise(matrices).float().flatten(), (u @ v).flatten(), dim=0
    )
    assert float(cosine) > 0.97


def parameter(shape, seed=0):
    value = torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    value.grad = torch.randn(shape, generator=torch.Generator().manual_seed(seed + 1))
    return value


@pytest.mark.parametrize("shape", [(64, 64), (32, 128), (128, 32), (32, 8, 2, 2)])
def test_an_update_has_the_size_of_an_adamw_step(shape):
    weight = parameter(shape)
    before = weight.detach().clone()
    Muon([weight], lr=0.01, weight_decay=0.0).step()
    change = (weight.detach() - before).square().mean().sqrt()
    assert float(change) == pytest.approx(0.01 * 0.2, rel=0.25)


def test_decay_is_decoupled_from_the_gradient():
    weight = parameter((8, 8))
    weight.grad.zero_()
    before = weight.detach().clone()
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weight.detach(), before * 0.95)


def test_a_batch_of_one_shape_is_stepped_as_each_alone():
    together, alone = ([parameter((8, 8), seed) for seed in (0, 5)] for _ in range(2))
    Muon(together, lr=0.1).step()
    for weight in alone:
        Muon([weight], lr=0.1).step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), rtol=1e-2, atol=1e-3)


def train(weights, optimizer, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()


def test_continues_bit_exactly_from_its_state_dict():
    def start():
        weights = [parameter((8, 8)), parameter((4, 3, 2, 2))]
        return weights, Muon(weights, lr=0.1)

    weights, optimizer = start()
    train(weights, optimizer, 3, seed=0)
    saved = copy.deepcopy((optimizer.state_dict(), [w.detach() for w in weights]))
    train(weights, optimizer, 3, seed=1)

    others, resumed = start()
    resumed.load_state_dict(saved[0])
    with torch.no_grad():
        for weight, value in zip(others, saved[1], strict=True):
            weight.copy_(value)
    train(others, resumed, 3, seed=1)
    for one, other in zip(weights, others, strict=True):
        assert torch.equal(one, other)


def test_finds_a_matrix_from_its_action():
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(16, 16, generator=generator)
    weight = torch.nn.Parameter(torch.zeros(16, 16))
    optimizer = Muon([weight], lr=0.05, weight_decay=0.0)
    losses = []
    for step in range(150):
        for group in optimizer.param_groups:
            group["lr"] = 0.3 * (1 - step / 150)
        x = torch.randn(16, 64, generator=generator)

        def closure(x=x):
            optimizer.zero_grad()
            loss = ((weight - wanted) @ x).square().mean()
            loss.backward()
            return float(loss.detach())

        losses.append(optimizer.step(closure))
    assert losses[-1] < 0.01 * losses[0]


def test_parameters_without_gradient_are_left_alone():
    weight = torch.nn.Parameter(torch.ones(4, 4))
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight.detach(), torch.ones(4, 4))


def test_vectors_are_refused():
    with pytest.raises(ValueError, match="takes matrices"):
        Muon([torch.nn.Parameter(torch.zeros(4))])
