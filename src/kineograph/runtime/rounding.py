"""Matrices in 8 bits, by torchao: half the memory of bfloat16, at a price in exactness.

Only the blocks of the transformers and of the text encoder are rounded, where nearly all weights
are. They are multiplied as bfloat16: what is saved is memory, and with it the way to the device.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

from torch import nn

from kineograph.errors import RequestError
from kineograph.runtime.options import WEIGHTS


def check_rounding(name: str) -> None:
    """Raise `RequestError` for an unknown kind of weights, or where torchao is missing."""
    if name not in WEIGHTS:
        raise RequestError(f"weights {name!r} are not allowed; {' or '.join(WEIGHTS)} are")
    if find_spec("torchao") is None:
        raise RequestError(f"weights {name!r} need torchao: pip install 'kineograph[quant]'")


def round_weights(part: nn.Module, name: str) -> None:
    """Round the matrices of a part's blocks, in place; each keeps a scale for every row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torchao was built for and is not here
        from torchao.quantization import (
            Float8WeightOnlyConfig,
            Int8WeightOnlyConfig,
            quantize_,
        )
    config: Any = Int8WeightOnlyConfig() if name == "int8" else Float8WeightOnlyConfig()
    blocks = getattr(part, "blocks", None)
    assert isinstance(blocks, nn.ModuleList), "only parts that are made of blocks are rounded"
    for block in blocks:
        quantize_(block, config)
