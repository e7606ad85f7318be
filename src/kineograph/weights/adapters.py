"""Adapters: small files that change a transformer, in the formats that people share.

LoRA (arXiv 2106.09685) adds `scale * alpha / rank * up @ down` to the weight of a linear layer.
Files name the layers in one of several ways, with one of several prefixes; whole differences of
weights (`diff`) and biases (`diff_b`), which distilled models come with, are read as well.

An adapter is live (it computes beside each layer: nothing of the model changes) or merged into
the weights (no cost in a step; what was there is kept, where it lies in its file, and comes back
to the bit).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from kineograph.errors import WeightsError
from kineograph.weights.header import read_tensors, shown
from kineograph.weights.keymaps import DIT_TO_DIFFUSERS, new_name

# Before the names of layers: PEFT, diffusers, ComfyUI, Kohya. The second expert has its own.
PREFIXES = re.compile(
    r"^(base_model\.model\.|transformer_2\.|transformer\.|diffusion_model\.|model\.|"
    r"lora_unet_|lycoris_|unet\.)+"
)
SECOND = re.compile(r"^(base_model\.model\.)?transformer_2\.")
KINDS = {
    ".lora_A.weight": "down", ".lora_A.default.weight": "down", ".lora_down.weight": "down",
    ".lora_B.weight": "up", ".lora_B.default.weight": "up", ".lora_up.weight": "up",
    ".alpha": "alpha", ".diff": "diff", ".diff_b": "diff_b", ".lora_B.bias": "diff_b",
}  # fmt: skip


@dataclass(frozen=True)
class Adapter:
    """What a file adds to a transformer, by our names."""

    path: Path
    layers: Mapping[str, tuple[Tensor, Tensor, float]]  # a layer's: down, up, alpha / rank
    whole: Mapping[str, Tensor]  # differences of parameters


def layer_names(module: nn.Module) -> dict[str, str]:
    """Return our name of each layer by every name that a file may have for it."""
    names: dict[str, str] = {}
    for name, child in module.named_modules():
        if next(child.parameters(recurse=False), None) is None:
            continue
        theirs = new_name(f"{name}.", DIT_TO_DIFFUSERS).removesuffix(".")
        for other in (name, theirs):
            names[other] = name
            names[other.replace(".", "_")] = name
    return names


def read_adapter(path: str | Path, module: nn.Module, second: bool = False) -> Adapter:
    """Read an adapter for a transformer; with `second` what is meant for the second expert.

    A file without names of a second expert is for either. Raises `WeightsError` for a damaged
    file, for a layer that the transformer has not, and for one of another size.
    """
    path = Path(path)
    heads, names = read_tensors(path), layer_names(module)
    if any(SECOND.match(key) for key in heads):
        heads = {key: head for key, head in heads.items() if bool(SECOND.match(key)) == second}
    found: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in heads:
                layer, kind = _placed(path, key, names)
                found.setdefault(layer, {})[kind] = file.get_tensor(key)
    except SafetensorError as error:
        raise WeightsError(f"{path} is truncated or damaged: {shown(str(error))}") from None
    parameters = dict(module.named_parameters())
    layers: dict[str, tuple[Tensor, Tensor, float]] = {}
    whole: dict[str, Tensor] = {}
    for layer, parts in found.items():
        if "down" in parts or "up" in parts:
            layers[layer] = _pair(path, layer, parts, parameters.get(f"{layer}.weight"))
        for kind, end in (("diff", "weight"), ("diff_b", "bias")):
            if kind in parts:
                wanted = parameters.get(f"{layer}.{end}")
                _check(path, f"{layer}.{kind}", parts[kind], wanted)
                whole[f"{layer}.{end}"] = parts[kind]
    if not layers and not whole:
        raise WeightsError(f"{path} is no adapter: it changes no layer")
    return Adapter(path, layers, whole)


def _placed(path: Path, key: str, names: Mapping[str, str]) -> tuple[str, str]:
    end = next((end for end in sorted(KINDS, key=len, reverse=True) if key.endswith(end)), None)
    if end is None:
        raise WeightsError(f"{path} is no adapter that is known: it holds {shown(key)}")
    name = PREFIXES.sub("", key.removesuffix(end))
    if name not in names:
        raise WeightsError(f"{path} changes {shown(name)}, which the model has not")
    return names[name], KINDS[end]


def _pair(
    path: Path, layer: str, parts: Mapping[str, Tensor], weight: Tensor | None
) -> tuple[Tensor, Tensor, float]:
    for kind in ("down", "up"):
        if kind not in parts:
            raise WeightsError(f"{path} lacks half of its change of {layer} ({kind})")
    down, up = parts["down"].flatten(1), parts["up"].flatten(1)
    rank = down.shape[0]
    if weight is None or weight.ndim != 2 or up.shape != (weight.shape[0], rank) or (
        down.shape[1] != weight.shape[1]
    ):
        size = None if weight is None else tuple(weight.shape)
        raise WeightsError(
            f"{path} changes {layer} by {tuple(up.shape)} times {tuple(down.shape)}; it is {size}"
        )
    alpha = float(parts["alpha"]) if "alpha" in parts else float(rank)
    return down, up, alpha / rank


def _check(path: Path, name: str, change: Tensor, weight: Tensor | None) -> None:
    if weight is None or change.shape != weight.shape:
        size = None if weight is None else tuple(weight.shape)
        raise WeightsError(f"{path}: {name} has shape {tuple(change.shape)}; {size} is wanted")


class Attached:
    """Adapters that are at work on one transformer, until they are taken off."""

    def __init__(
        self, module: nn.Module, adapters: Iterable[tuple[Adapter, float]], merge: bool = False
    ) -> None:
        self.handles: list[Any] = []
        self.kept: list[tuple[Tensor, Tensor]] = []  # parameters and what they held
        parameters = dict(module.named_parameters())
        modules = dict(module.named_modules())
        adapters = list(adapters)
        for adapter, _ in adapters:
            added = {*adapter.whole, *(f"{layer}.weight" for layer in adapter.layers if merge)}
            for name in sorted(added):
                if is_traceable_wrapper_subclass(parameters[name]):
                    raise WeightsError(f"{name} is in 8 bits: an adapter cannot be added to it")
        for adapter, scale in adapters:
            for name, change in adapter.whole.items():
                self._add(parameters[name], scale * change.float())
            for layer, (down, up, factor) in adapter.layers.items():
                if merge:
                    product = up.float() @ down.float()
                    self._add(parameters[f"{layer}.weight"], scale * factor * product)
                else:
                    hook = _beside(down, up, scale * factor)
                    self.handles.append(modules[layer].register_forward_hook(hook))

    def _add(self, parameter: Tensor, change: Tensor) -> None:
        old = parameter.data
        self.kept.append((parameter, old))
        parameter.data = (old.float() + change.to(old.device)).to(old.dtype)

    def detach(self) -> None:
        """Take the adapters off; every weight is the tensor that it was."""
        for handle in self.handles:
            handle.remove()
        for parameter, old in reversed(self.kept):
            parameter.data = old
        self.handles, self.kept = [], []


def _beside(down: Tensor, up: Tensor, scale: float) -> Callable[..., Tensor]:
    """Return a hook that adds what an adapter makes of a layer's input to its output."""
    here: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        place = (output.device, output.dtype)
        if place not in here:
            here.clear()
            here[place] = (down.to(*place), (scale * up.float()).to(*place))
        a, b = here[place]
        return output + F.linear(F.linear(inputs[0].to(a.dtype), a), b).to(output.dtype)

    return hook
