"""Other kernels: the same attention, called as their libraries want it, refused where not here."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from kineograph.errors import RequestError
from kineograph.nn.attention import Attention, attend
from kineograph.runtime.kernels import LIBRARIES, check_kernel, kernel, use_kernel

CUDA = torch.device("cuda")


def stand_in(monkeypatch, name, calls):
    """A library with the signature of the real one, computing by torch."""
    library = LIBRARIES[name]
    module = ModuleType(library.module)
    module.__spec__ = ModuleSpec(library.module, None)

    def function(q, k, v, **more):
        calls.append(more)
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        scale = more[library.scale]
        out = F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2)
        return (out, None) if name == "flash3" else out

    setattr(module, library.function, function)
    monkeypatch.setitem(sys.modules, library.module, module)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_kernel_is_called_as_its_library_wants_it(name, monkeypatch):
    calls = []
    stand_in(monkeypatch, name, calls)
    check_kernel(name, CUDA, torch.bfloat16)
    q, k, v = torch.randn(3, 2, 5, 3, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(kernel(name)(q, k, v), attend(q, k, v))
    torch.testing.assert_close(kernel(name)(q, k, v, scale=0.3), attend(q, k, v, scale=0.3))
    assert len(calls) == 2
    bias = torch.randn(2, 1, 1, 5)
    assert torch.equal(kernel(name)(q, k, v, bias=bias), attend(q, k, v, bias=bias))
    assert len(calls) == 2  # it knows no bias
    layer, x = Attention(24, 3, 1e-6), torch.randn(1, 4, 24)
    wanted = layer(x)
    use_kernel(layer, name)
    torch.testing.assert_close(layer(x), wanted)
    assert len(calls) == 3
    for device, dtype in ((torch.device("cpu"), torch.bfloat16), (CUDA, torch.float32)):
        with pytest.raises(RequestError, match="computes on a GPU in half precision"):
            check_kernel(name, device, dtype)


def test_a_kernel_that_is_not_here_is_named():
    check_kernel("sdpa", torch.device("cpu"), torch.float32)
    with pytest.raises(RequestError, match=r"'sage' is not here .*sageattention is not installed"):
        check_kernel("sage", CUDA, torch.bfloat16)
