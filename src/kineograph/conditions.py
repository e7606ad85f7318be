"""From what a request shows the model to what its networks take: contexts, latents, masks.

Letters: b batch, c latent channels, t frames, h height, w width, l context tokens, d context
channels, m tokens and controls.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor

from kineograph.decoding import encode_video
from kineograph.inputs import first_frames, last_frames, mask_frames, still, whole
from kineograph.models.conditioning import Conditioning
from kineograph.models.dit import control_rows
from kineograph.models.image import ImageEncoder
from kineograph.models.text import encode_context
from kineograph.pipeline import Pipeline
from kineograph.request import ResolvedRequest
from kineograph.spec import size_of
from kineograph.ways import AFTER_LATENTS, BEFORE_LATENTS, latent_place


def condition(
    pipeline: Pipeline, request: ResolvedRequest
) -> tuple[Conditioning, Float[Tensor, "1 l d"]]:
    """Return what the clip is conditioned on, and the negative context.

    The empty negative prompt is encoded as any other text: training dropped prompts so.
    """
    context = with_controls(pipeline, encode_prompt(pipeline, request.prompt), request)
    negative = with_controls(pipeline, encode_prompt(pipeline, request.negative_prompt))
    if pipeline.spec.concatenates:
        return beside(pipeline, request, context), negative
    if pipeline.spec.dit.control_layers:
        return controlled(pipeline, request, context), negative
    pictures = request.pictures()
    if not pictures and request.before is None and request.after is None:
        return Conditioning(context), negative
    known, mask = nothing_known(pipeline, request)
    # A latent frame after the first stands for `stride` frames and depends on those before it:
    # a picture there is encoded as the end of a clip in which nothing else is ever seen.
    stride, size = pipeline.spec.vae.temporal_stride, size_of(request)
    for path, frame in pictures:
        place = latent_place(frame, stride)
        video = repeat(still(path, size), "c h w -> c t h w", t=1 + stride if place else 1)
        known[:, :, place] = encode_video(pipeline, video)[:, :, -1]
        mask[:, place] = True
    if request.before is not None:
        count = 1 + stride * (BEFORE_LATENTS - 1)
        video = last_frames(request.before, count, request.fps, size, request.times_fps)
        known[:, :, :BEFORE_LATENTS] = encode_video(pipeline, video)
        mask[:, :BEFORE_LATENTS] = True
    if request.after is not None:
        video = first_frames(request.after, 1 + stride * AFTER_LATENTS, request.fps, size)
        known[:, :, -AFTER_LATENTS:] = encode_video(pipeline, video)[:, :, 1:]
        mask[:, -AFTER_LATENTS:] = True
    return Conditioning(context, known, mask), negative


def beside(
    pipeline: Pipeline, request: ResolvedRequest, context: Float[Tensor, "1 l d"]
) -> Conditioning:
    """Return pictures as Wan's first models take them: as channels beside the noisy latent.

    They are which frames are given, a channel for each of those that a latent frame stands for,
    and the latent of a clip that shows the pictures and is grey elsewhere. Wan 2.1 also attends
    to what CLIP sees in them.
    """
    size, stride = size_of(request), pipeline.spec.vae.temporal_stride
    video = torch.zeros(3, request.num_frames, size.height, size.width)
    given = torch.zeros(request.num_frames)
    for path, frame in request.pictures():
        video[:, frame], given[frame] = still(path, size), 1
    latent = encode_video(pipeline, video)
    # The first latent frame stands for one frame alone, which is counted as often as the others.
    counted = rearrange(torch.cat((given[:1].expand(stride - 1), given)), "(t i) -> i t", i=stride)
    mask = counted[None, :, :, None, None].to(latent).expand(-1, -1, -1, *latent.shape[-2:])
    image = None
    if pipeline.image is not None:
        seen = pipeline.image.prepare(video[:, given > 0].transpose(0, 1).to(pipeline.device))

        def look(tower: ImageEncoder = pipeline.image, seen: Tensor = seen) -> Tensor:
            with pipeline.working("image"):
                return tower(seen)

        image = rearrange(pipeline.persist(look), "p i j -> 1 (p i) j").float()
    return Conditioning(context, channels=torch.cat((mask, latent), 1), image=image)


def controlled(
    pipeline: Pipeline, request: ResolvedRequest, context: Float[Tensor, "1 l d"]
) -> Conditioning:
    """Return a control video as VACE takes it (arXiv 2503.07598), in the latent of a clip.

    Its channels are what is kept of the video, what is to be changed, and the mask between the
    two, folded as the VAE folds pixels. Pictures of reference stand before it as frames of their
    own, all kept.
    """
    size, stride = size_of(request), pipeline.spec.vae.temporal_stride
    count, step = request.num_frames, pipeline.spec.vae.spatial_stride
    video = torch.zeros(3, count, size.height, size.width)
    if request.control is not None:
        video = first_frames(request.control, count, request.fps, size)
    mask = torch.ones(1, count, size.height, size.width)
    if request.control_mask is not None:
        mask = mask_frames(request.control_mask, count, request.fps, size)
    kept, changed = (encode_video(pipeline, part) for part in (video * (1 - mask), video * mask))
    folded = rearrange(mask[0], "t (h q) (w r) -> (q r) t h w", q=step, r=step)
    # Of the frames that a latent frame stands for the middle one tells, as Wan reduces it.
    length = latent_place(count - 1, stride) + 1
    shape = (length, *folded.shape[-2:])
    small = F.interpolate(folded[None], size=shape, mode="nearest-exact").to(kept)
    control = torch.cat((kept, changed, small), 1)
    for path in reversed(request.references or ()):
        picture = encode_video(pipeline, whole(path, size)[:, None])
        before = torch.zeros_like(control[:, :, :1])
        before[:, : picture.shape[1]] = picture
        control = torch.cat((before, control), 2)
    scale = 1.0 if request.control_scale is None else request.control_scale
    return Conditioning(context, control=control, control_scale=scale)


def with_controls(
    pipeline: Pipeline, context: Float[Tensor, "1 l d"], request: ResolvedRequest | None = None
) -> Float[Tensor, "1 m d"]:
    """Return a context with the rows of the model's controls, if it has any, behind it.

    A camera that is given in numbers stands along the axes that it does not name. Without a
    request no number is given.
    """
    units = pipeline.spec.controls
    if not units:
        return context
    numbers = dict.fromkeys(units, math.nan)
    if request is not None and request.camera is not None:
        numbers |= {name: 0.0 for name in units if name != "speed"} | request.camera_rates()
    if request is not None and request.motion_speed is not None:
        numbers["speed"] = request.motion_speed
    values = torch.tensor([[numbers[name] / unit for name, unit in units.items()]])
    return torch.cat((context, control_rows(values.to(context.device), context.shape[2])), 1)


def encode_prompt(pipeline: Pipeline, prompt: str) -> Float[Tensor, "1 l d"]:
    """Return the context of a prompt; a `RequestError` says if it has too many tokens.

    Where prompts are kept one that has been encoded before is not encoded again.
    """
    ids, mask = (part.to(pipeline.device) for part in pipeline.tokenizer.encode([prompt]))
    length, store = pipeline.spec.dit.text_len, pipeline.contexts
    tokens = ids[mask].tolist()
    rows = None if store is None else store.get(tokens)
    if rows is not None:
        return F.pad(rows[None], (0, 0, 0, length - len(rows))).to(pipeline.device)

    def encode() -> Tensor:
        with pipeline.working("text"), torch.no_grad():
            return encode_context(pipeline.text, ids, mask, length).float()

    context = pipeline.persist(encode)
    if store is not None:
        store.put(tokens, context[0, : len(tokens)])
    return context


def nothing_known(
    pipeline: Pipeline, request: ResolvedRequest
) -> tuple[Float[Tensor, "1 c t h w"], Bool[Tensor, "1 t"]]:
    """Return a latent and a mask of its frames to fill in with what is known."""
    shape = pipeline.spec.latent_shape(size_of(request), request.num_frames)
    mask = torch.zeros(1, shape[1], dtype=torch.bool, device=pipeline.device)
    return torch.zeros(1, *shape, device=pipeline.device), mask
