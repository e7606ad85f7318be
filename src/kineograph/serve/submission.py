"""What comes in and what is shown, between the dialects and the store: neither knows the other.

A dialect turns a parsed body into a `Submission` and a `VideoView` into an answer. Nothing here
reads a file or a database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from kineograph.request import GenerationRequest

OPENAI, KLING = "openai", "kling"  # the dialects
OPENAI_KINDS = ("create", "remix", "edit", "extend")
KLING_KINDS = ("text2video", "image2video", "video-extend")

# Fields of a GenerationRequest that name files: an API takes their content, never their paths.
PICTURE_FIELDS = ("image", "last_image", "keyframes", "references")
VIDEO_FIELDS = ("before", "after", "video", "control", "control_mask")
LIST_FIELDS = ("keyframes", "references")
MEDIA_FIELDS = (*PICTURE_FIELDS, *VIDEO_FIELDS)
SERVER_FIELDS = ("output", "lora")  # of them, those that no client may name

Source = Literal["upload", "url", "base64", "video", "file"]


@dataclass(frozen=True)
class MediaRef:
    """One picture or video that a request names, not yet fetched.

    `source` says what `value` is: the `Upload.name` of a file in the same body ("upload"), an
    http or https URL ("url"), base64 text without a header ("base64"), the id of an earlier video
    ("video"), or the id of an earlier upload ("file").
    """

    field: str  # of the GenerationRequest that it belongs to
    source: Source
    value: str
    name: str  # of the field of the body that named it, for messages
    content_type: str | None = None  # that a data URI told; nobody has checked it
    at: float | None = None  # seconds, of a keyframe

    @property
    def is_picture(self) -> bool:
        """Whether it must be a picture; `video` and `control_mask` may be one."""
        return self.field in PICTURE_FIELDS


@dataclass(frozen=True)
class Submission:
    """A request as any dialect asks for it; the files are named in `media`, not in `request`.

    The keys of `media` are fields of a GenerationRequest, those of lists with a number behind
    them: `image`, `keyframes.0`, `keyframes.1`, `references.0`.
    """

    request: GenerationRequest
    media: Mapping[str, MediaRef] = field(default_factory=dict)
    dialect: str = OPENAI
    kind: str = "create"  # or another of OPENAI_KINDS or KLING_KINDS
    remixed_from: str | None = None  # id of the video that a remix, an edit or extension starts at
    callback_url: str | None = None  # as given: whoever calls it decides whether it may be
    external_task_id: str | None = None  # the client's own name, once an account
    watermark: bool | None = None  # whether a mark that is seen was asked for; None: not said
    metadata: Mapping[str, str] = field(default_factory=dict)  # kept and told back
    expires_after: int | None = None  # seconds after its end that the video is wanted for


def with_paths(
    request: GenerationRequest, media: Mapping[str, MediaRef], paths: Mapping[str, str]
) -> GenerationRequest:
    """Return the request with the files in it that `paths` gives for the keys of `media`.

    The order of a list is that of the numbers in its keys. An assertion fails where a path is
    missing: which are needed is ours to know, not the client's.
    """
    assert set(media) == set(paths), f"{sorted(media)} are asked for, {sorted(paths)} are given"
    given: dict[str, Any] = {}
    for key in sorted(media, key=_place):
        ref = media[key]
        if ref.field not in LIST_FIELDS:
            given[ref.field] = paths[key]
            continue
        entry = paths[key] if ref.at is None else f"{paths[key]}@{ref.at!r}"
        given[ref.field] = (*given.get(ref.field, ()), entry)
    return replace(request, **given)


def _place(key: str) -> tuple[str, int]:
    name, _, number = key.partition(".")
    return name, int(number or 0)


@dataclass(frozen=True)
class VideoView:
    """What is known of a video, as both dialects show it. Times are seconds since 1970 (UTC)."""

    id: str
    state: str  # queued, running, paused, completed, failed, cancelled or deleted
    model: str
    prompt: str
    seconds: float  # that the clip lasts, of an extension all of it
    size: str  # WxH, as delivered
    created_at: float
    updated_at: float | None = None  # None: the newest of the times known
    started_at: float | None = None
    completed_at: float | None = None
    expires_at: float | None = None  # when its files go
    progress: float = 0.0  # 0 to 1
    stage: str | None = None  # what is being done, in a word
    fps: int | None = None
    seed: int | None = None
    queue_position: int | None = None  # 1 is next
    eta_seconds: float | None = None  # until it is completed, as now expected
    cost: float | None = None  # credits charged
    estimated_cost: float | None = None  # credits reserved
    error_code: str | None = None
    error: str | None = None  # in words
    kind: str = "create"
    dialect: str = OPENAI
    remixed_from: str | None = None
    external_task_id: str | None = None
    callback_url: str | None = None
    video_url: str | None = None  # where the finished video is read
    watermark_url: str | None = None
    preview_url: str | None = None
    thumbnail_url: str | None = None
    media: tuple[str, ...] = ()  # keys of the Submission's media
    request: Mapping[str, Any] = field(default_factory=dict)  # a GenerationRequest's fields
    metadata: Mapping[str, str] = field(default_factory=dict)
