"""Text into token ids: a `tokenizers` file that transformers reads too, and a lexicon.

Text is lower-cased (after Unicode NFKC, so that full-width signs are the common ones) and
cut into words of letters, single Chinese characters, digits and marks; byte-pair encoding
joins letters within a word only (arXiv 1508.07909). Every word, and nothing else, starts
with "▁", whatever stands before it: spaces around marks and digits are forgotten. A
character that training captions never showed becomes <unk>. Every text ends with </s>, as
T5's do.

The lexicon beside it (`words.json`) knows which words the model was trained on.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import tokenizers
import torch
from jaxtyping import Bool, Int
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from kineograph.errors import RequestError, WeightsError

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"  # ids 0, 1, 2
SPACE = "▁"
WORDS_FILE = "words.json"
# Single pieces that must have an id even if no training caption has them.
ALPHABET = list("abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"()-。、《》" + SPACE)
MERGE_MIN_FREQUENCY = 2
SUGGEST_SIMILARITY = 0.75

HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
RUNS = re.compile(rf"[{HAN}]+|[^\W_{HAN}]+")
POSSESSIVE = re.compile(r"['\u2019]s\b")


@dataclass(frozen=True)
class Lexicon:
    """The words that training captions contain, each list sorted."""

    en: tuple[str, ...]  # any script but Chinese
    zh: tuple[str, ...]  # words; a run of characters is known if it can be cut into them


class Tokenizer:
    """Turns prompts into ids and says which of their words the model does not know."""

    def __init__(
        self, backend: tokenizers.Tokenizer, text_len: int, lexicon: Lexicon | None
    ) -> None:
        """Wrap a `tokenizers.Tokenizer`; without a lexicon every word counts as known."""
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self.text_len = text_len
        self.lexicon = lexicon
        self._known = frozenset(lexicon.en) if lexicon else frozenset()
        self._pieces = frozenset(lexicon.zh) if lexicon else frozenset()
        self._longest = max(map(len, self._pieces), default=0)

    @classmethod
    def load(cls, path: str | Path, text_len: int | None = None) -> Tokenizer:
        """Read `tokenizer.json` and, if there is one beside it, `words.json`.

        `text_len` is the file's own unless given. Raises `WeightsError` if a file is
        missing, is not what it should be, or names no length and none is given.
        """
        path = Path(path)
        try:
            backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises bare Exception for bad content
            raise WeightsError(f"no tokenizer can be read from {path}: {error}") from error
        length = text_len or (backend.padding or {}).get("length")
        if not length:
            raise WeightsError(f"{path} does not say how long a text may be: give text_len")
        return cls(backend, length, _load_lexicon(path.with_name(WORDS_FILE)))

    @property
    def vocab_size(self) -> int:
        return int(self._backend.get_vocab_size())

    def encode(self, texts: Sequence[str]) -> tuple[Int[Tensor, "b l"], Bool[Tensor, "b l"]]:
        """Return ids, padded with 0 to `text_len`, and the mask of the true tokens.

        The empty text is </s> alone. Raises `RequestError` for a text of more than
        `text_len` tokens, </s> included.
        """
        ids = torch.zeros(len(texts), self.text_len, dtype=torch.int64)
        lengths = torch.zeros(len(texts), 1, dtype=torch.int64)
        for row, encoding in enumerate(self._backend.encode_batch(list(texts))):
            count = len(encoding.ids)
            if count > self.text_len:
                raise RequestError(
                    f"the text {_shorten(texts[row])!r} has {count} tokens; "
                    f"at most {self.text_len} are allowed"
                )
            ids[row, :count] = torch.tensor(encoding.ids)
            lengths[row] = count
        return ids, torch.arange(self.text_len) < lengths

    def decode(self, ids: Sequence[int] | Int[Tensor, " l"]) -> str:
        """Return the text of ids as the model sees it: lower case, without special tokens."""
        return str(self._backend.decode([int(i) for i in ids]))

    def count(self, text: str) -> int:
        """Return how many tokens a text has, </s> included."""
        return len(self._backend.encode(text).ids)

    def unknown_words(self, text: str) -> list[str]:
        """Return the words that no training caption contains, as they come, each once.

        English words count whole, so a typo is unknown; of a Chinese run, the characters
        that no known word covers. Numbers and marks are passed over.
        """
        if self.lexicon is None:
            return []
        found: dict[str, None] = {}
        for run in _runs(text):
            if re.match(f"[{HAN}]", run):
                found.update(dict.fromkeys(self._uncovered(run)))
            elif run not in self._known and not run.isnumeric():
                found[run] = None
        return list(found)

    def suggest(self, word: str) -> str | None:
        """Return the known English word that is spelt most like `word`, if one is close."""
        known = self.lexicon.en if self.lexicon else ()
        close = difflib.get_close_matches(word.lower(), known, 1, SUGGEST_SIMILARITY)
        return close[0] if close else None

    def _uncovered(self, run: str) -> list[str]:
        """Cut a run into known words so that the fewest characters are left; return these."""
        # best[i]: for the first i characters, how many are left over and the last cut.
        best = [(0, 0)]
        for end in range(1, len(run) + 1):
            options = [(best[end - 1][0] + 1, end - 1)]
            for start in range(max(0, end - self._longest), end):
                if run[start:end] in self._pieces:
                    options.append((best[start][0], start))
            best.append(min(options))
        left = [False] * len(run)
        end = len(run)
        while end:
            missing, start = best[end]
            left[start:end] = [missing > best[start][0]] * (end - start)
            end = start
        marked = "".join(c if out else " " for c, out in zip(run, left, strict=True))
        return marked.split()


def train_tokenizer(
    captions: Iterable[str],
    path: str | Path,
    *,
    vocab_size: int = 1024,
    text_len: int = 64,
    known_words: Iterable[str] | None = None,
) -> Tokenizer:
    """Learn a vocabulary from captions and write `path` and `words.json` beside it.

    Of `known_words`, in both languages, those that occur in the captions make the lexicon;
    without them it is every word of the captions and every single Chinese character.
    """
    path = Path(path)
    runs: set[str] = set()

    def watched() -> Iterator[str]:
        for caption in captions:
            runs.update(_runs(caption))
            yield caption

    backend = _untrained()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=MERGE_MIN_FREQUENCY,
        special_tokens=[PAD, END, UNKNOWN],
        initial_alphabet=ALPHABET,
        show_progress=False,
    )
    backend.train_from_iterator(watched(), trainer)
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", pair=f"$A {END} $B {END}", special_tokens=[(END, 1)]
    )
    backend.enable_padding(length=text_len, pad_id=0, pad_token=PAD)
    lexicon = _make_lexicon(runs, known_words)
    _write(path.with_name(WORDS_FILE), json.dumps(asdict(lexicon), ensure_ascii=False))
    _write(path, backend.to_str(pretty=True))
    return Tokenizer.load(path)


def _untrained() -> tokenizers.Tokenizer:
    """Return the pipeline from text to pieces and back, with an empty vocabulary."""
    backend = tokenizers.Tokenizer(models.BPE(unk_token=UNKNOWN))
    letter = r"[[\p{L}\p{M}]&&[^\p{Han}]]"
    backend.normalizer = normalizers.Sequence([
        normalizers.NFKC(),
        normalizers.Lowercase(),
        # One space before every word and nowhere else, so that a word has one form.
        normalizers.Replace(Regex(rf"[\s{SPACE}]+"), " "),
        normalizers.Replace(Regex(f" (?!{letter})"), ""),
        normalizers.Replace(Regex(f"(?<!{letter}| )(?={letter})"), " "),
        normalizers.Replace(" ", SPACE),
    ])  # fmt: skip
    pieces = rf"{SPACE}{letter}+|[^{SPACE}]"
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pieces), "isolated")
    backend.decoder = decoders.Sequence([
        decoders.Replace(SPACE, " "),
        decoders.Fuse(),
        decoders.Replace(Regex("(?<=[-'(]) "), ""),
        decoders.Strip(" ", 1, 0),
    ])  # fmt: skip
    return backend


def _runs(text: str) -> list[str]:
    """Cut a text into lower-case words and unbroken runs of Chinese characters."""
    text = unicodedata.normalize("NFKC", text).lower()
    return RUNS.findall(POSSESSIVE.sub("", text))


def _make_lexicon(runs: set[str], known_words: Iterable[str] | None) -> Lexicon:
    chinese = {run for run in runs if re.match(f"[{HAN}]", run)}
    other = {run for run in runs - chinese if not run.isnumeric()}
    if known_words is None:
        return Lexicon(tuple(sorted(other)), tuple(sorted(set().union(*chinese))))
    known = {run for word in known_words for run in _runs(word)}
    text = "\n".join(sorted(chinese))
    zh = [word for word in known - other if re.match(f"[{HAN}]", word) and word in text]
    return Lexicon(tuple(sorted(known & other)), tuple(sorted(zh)))


def _load_lexicon(path: Path) -> Lexicon | None:
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Lexicon(tuple(map(str, data["en"])), tuple(map(str, data["zh"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"no word lists can be read from {path}: {error}") from error


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _shorten(text: str, width: int = 40) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
