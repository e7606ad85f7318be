"""Between RGB and the YUV 4:2:0 of video files, with every choice said out loud.

What is left to a library's defaults here is a colour shift that nobody sees in a test
card and everybody sees in a face: the matrix (BT.709), the range (16..235), rounding, and
where a chroma sample sits. Video puts it at the left of its two pixels; FFmpeg's scaler,
untold, computes it for the middle, which costs 10 dB on detailed colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from jaxtyping import UInt8
from numpy import ndarray

BT709 = 1  # the number of BT.709 among H.273's matrices, primaries and transfer curves alike
LIMITED, FULL = 1, 2  # H.273's 16..235 and 0..255, as FFmpeg numbers them
SCALER = "flags=bicubic+accurate_rnd+full_chroma_inp+full_chroma_int"
TO_YUV = f"{SCALER}:in_range=pc:out_color_matrix=bt709:out_range=tv:out_chroma_loc=left"
HD_HEIGHT = 720  # untagged video is BT.709 from here on and BT.601 below, as players guess
MATRICES = {BT709: "bt709", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}


class RgbToYuv:
    """Turn RGB pictures into `yuv420p` frames, BT.709, limited range, chroma at the left."""

    def __init__(self, width: int, height: int) -> None:
        self._graph = _scale_graph(width, height, "rgb24", "yuv420p", TO_YUV)

    def convert(self, picture: UInt8[ndarray, "h w 3"]) -> av.VideoFrame:
        self._graph.vpush(_rgb_frame(picture))
        return self._graph.vpull()


class FrameToRgb:
    """Turn decoded frames of one size and pixel format into RGB pictures."""

    def __init__(self, like: av.VideoFrame) -> None:
        default = "bt709" if like.height >= HD_HEIGHT else "bt601"
        matrix = MATRICES.get(like.colorspace, default)
        full = like.color_range == FULL or like.format.name.startswith("yuvj")
        source = f"in_color_matrix={matrix}:in_range={'pc' if full else 'tv'}:in_chroma_loc=left"
        if like.format.is_rgb or like.format.has_palette:
            source = "in_range=pc"
        self._like = _kind(like)
        self._graph = _scale_graph(
            like.width, like.height, like.format.name, "rgb24", f"{SCALER}:{source}:out_range=pc"
        )

    def fits(self, frame: av.VideoFrame) -> bool:
        return _kind(frame) == self._like

    def convert(self, frame: av.VideoFrame) -> UInt8[ndarray, "h w 3"]:
        self._graph.vpush(frame)
        return np.ascontiguousarray(self._graph.vpull().to_ndarray())


def with_palette(pictures: list[UInt8[ndarray, "h w 3"]], fps: Fraction) -> Iterator[av.VideoFrame]:
    """Give the pictures as paletted frames that share the 256 colours that suit them all.

    One palette for the whole clip does not flicker; error diffusion hides its steps, and
    only where something moves, so that what stands still stays still.
    """
    height, width, _ = pictures[0].shape
    graph = Graph()
    source = graph.add_buffer(
        width=width, height=height, format=av.VideoFormat("rgb24"), time_base=1 / fps
    )
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=full")
    use = graph.add("paletteuse", "dither=sierra2_4a:diff_mode=rectangle")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for index, picture in enumerate(pictures):
        frame = _rgb_frame(picture)
        frame.pts, frame.time_base = index, 1 / fps
        graph.vpush(frame)
    graph.vpush(None)
    for _ in pictures:
        yield graph.vpull()


def _rgb_frame(picture: UInt8[ndarray, "h w 3"]) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")


def _kind(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name


def _scale_graph(width: int, height: int, source: str, target: str, scale: str) -> Graph:
    graph = Graph()
    first = graph.add_buffer(
        width=width, height=height, format=av.VideoFormat(source), time_base=Fraction(1, 1000)
    )
    nodes = [first, graph.add("scale", scale), graph.add("format", f"pix_fmts={target}")]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph
