"""The tokenizer of Wan's text encoder: UMT5's own file, and the cleaning that Wan does first."""

from __future__ import annotations

import html
import re
from pathlib import Path

import ftfy
import tokenizers
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from kineograph.errors import RequestError, WeightsError

PAD = 0  # its id in UMT5's vocabulary


def clean(text: str) -> str:
    """Return a prompt as Wan cleans it: repaired, unescaped, its white space single."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return re.sub(r"\s+", " ", text).strip()


class UmT5Tokenizer:
    """Turns prompts into the ids of UMT5's vocabulary."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, max_tokens: int) -> None:
        self.tokenizer, self.max_tokens = tokenizer, max_tokens

    @classmethod
    def load(cls, path: Path, max_tokens: int) -> UmT5Tokenizer:
        """Read a `tokenizer.json`; raises `WeightsError` where it is none."""
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises the bare class
            raise WeightsError(f"{path} is no tokenizer: {error}") from None
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(tokenizer, max_tokens)

    def encode(self, texts: list[str]) -> tuple[Int[Tensor, "b l"], Bool[Tensor, "b l"]]:
        """Return ids, padded to the longest, and where they are real.

        Raises `RequestError` for a prompt that has more tokens than the model reads; Wan's own
        code cuts it off.
        """
        rows = [e.ids for e in self.tokenizer.encode_batch([clean(text) for text in texts])]
        length = max(map(len, rows))
        if length > self.max_tokens:
            raise RequestError(
                f"the prompt has {length} tokens; at most {self.max_tokens} are read"
            )
        ids = torch.tensor([row + [PAD] * (length - len(row)) for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        return ids, torch.arange(length) < lengths[:, None]

    def unknown_words(self, text: str) -> list[str]:
        """Return no word: this vocabulary has pieces for all of them."""
        return []

    def suggest(self, word: str) -> str | None:
        """Return no other word."""
        return None
