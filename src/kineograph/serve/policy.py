"""What the service will not make: a hook that every prompt passes, and a short default list.

A list of words stops the plainest requests and their common disguises, no more; an operator who
needs more brings a policy of their own, which may also look at the pictures.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from kineograph.errors import RequestError, shown

SEXUAL = (
    "nude|nudes|naked|nudity|porn|porno|pornography|pornographic|sex scene|having sex|sex with"
    "|sex act|sexy|sexual|sexually|sexualized|erotic|nsfw|hentai|masturbating|orgasm"
)
MINOR = (
    "child|children|kid|kids|minors|toddler|toddlers|infant|infants|preteen|preteens|underage"
    "|schoolgirl|schoolgirls|schoolboy|schoolboys|little girl|little girls|little boy|little boys"
    "|young girl|young girls|young boy|young boys|loli|shota|jailbait"
)
SEXUAL_ZH = "裸体|裸體|全裸|裸照|色情|性爱|性愛|做爱|做愛|情色|性交"
MINOR_ZH = "儿童|兒童|小孩|孩童|幼女|幼童|女童|男童|未成年|小学生|小學生|萝莉|蘿莉|小女孩|小男孩"
DEFAULT_TERMS = (
    # Sexual content with minors.
    f"{SEXUAL} + {MINOR}",
    f"{SEXUAL_ZH} + {MINOR_ZH}",
    "child porn|kiddie porn|child pornography|csam|pedophilia|paedophilia|pedophile porn",
    "恋童|戀童|幼交",
    # Sexual violence, and nudity of people who did not agree to it.
    "rape scene|raping|raped|gang rape|forced sex|revenge porn|upskirt|undress her|undress him",
    "nude deepfake|deepfake nude|deepfake porn|nudify|bestiality|zoophilia|necrophilia",
    "强奸|強姦|轮奸|輪姦|迷奸|迷姦|偷拍裙底|换脸色情|換臉色情|一键脱衣|一鍵脫衣|兽交|獸交",
    # Cruelty shown for its own sake.
    "snuff film|snuff video|beheading video|gore porn|torture porn",
    "虐杀视频|虐殺影片|斩首视频|斬首影片|虐童",
    # Instructions for mass harm.
    "how to make|how to build|instructions for|tutorial on + pipe bomb|nail bomb|car bomb"
    "|suicide vest|nerve gas|sarin|dirty bomb|explosive device|explosives",
    "bomb making|bomb building|bombmaking",
    "炸弹制作|炸彈製作|制造炸弹|製造炸彈|制作炸弹|製作炸彈|自制炸弹|自製炸彈|自制炸药|自製炸藥",
)
HARMLESS = re.compile(r"\bnaked (?:eyes?|mole)\b|\birish car bomb\b")  # what goes unread
GAP = r"[^\w\s]|_"  # between the letters of one word: "b.o*m_b"


class PolicyError(RequestError):
    """A prompt or a picture is not allowed; the message is for its sender."""

    code = "content_policy_violation"


@runtime_checkable
class Policy(Protocol):
    """Whatever can say no to a request before it is queued."""

    def check(self, prompt: str, images: Sequence[Path] = ()) -> None:
        """Raise `PolicyError` if the prompt, or a clean picture that goes with it, is refused.

        A negative prompt names what shall not be seen: it is not for this check.
        """


class WordPolicy:
    """Refuses a prompt by its words; pictures pass.

    A term is one or more parts joined by " + ", all of which must occur, in any order; a part is
    one or more words or phrases separated by "|", one of which must. Latin words match whole,
    regardless of case, width, accents, invisible characters, and signs or spaces put between
    their letters. Chinese is matched anywhere, regardless of signs and spaces.
    """

    def __init__(self, terms: Iterable[str] = DEFAULT_TERMS) -> None:
        self._terms = [_compiled(term) for term in terms]

    def check(self, prompt: str, images: Sequence[Path] = ()) -> None:
        """Raise `PolicyError` that names the words by which the prompt is refused."""
        text = HARMLESS.sub(" ", _normalised(prompt))
        dense = re.sub(r"[\W_]", "", text)
        for parts in self._terms:
            found = [_search(part, text, dense) for part in parts]
            if all(found):
                words = " and ".join(repr(word) for word in found)
                raise PolicyError(
                    f"the prompt is refused by the content policy for {words}; "
                    "allowed: a scene without it"
                )


def load_policy(name: str = "") -> Policy:
    """Return the policy that a setting names.

    `name` is empty (the default list), a text file whose lines are terms that come on top of
    the default list (blank lines and those that begin with # are skipped), or
    `package.module:factory`, something that returns a `Policy` when called.

    Raises:
        RequestError: there is no such file, module or factory, or it makes no policy.
    """
    if not name:
        return WordPolicy()
    module, colon, factory = name.partition(":")
    if colon and all(part.isidentifier() for part in [*module.split("."), factory]):
        return _made(name, module, factory)
    try:
        lines = Path(name).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RequestError(
            f"cannot read the policy {shown(name)}: {reason}; "
            "allowed: a file of words, or package.module:factory"
        ) from error
    terms = (line.strip() for line in lines)
    return WordPolicy((*DEFAULT_TERMS, *(t for t in terms if t and not t.startswith("#"))))


def _made(name: str, module: str, factory: str) -> Policy:
    try:
        make = getattr(import_module(module), factory)
    except (ImportError, AttributeError) as error:
        raise RequestError(f"cannot load the policy {shown(name)}: {error}") from error
    policy = make()
    if not isinstance(policy, Policy):
        raise RequestError(
            f"the policy {shown(name)} makes {shown(policy)}; allowed: an object with check()"
        )
    return policy


Part = tuple[re.Pattern[str] | None, tuple[str, ...]]  # Latin words, and Chinese ones


def _compiled(term: str) -> list[Part]:
    parts: list[Part] = []
    for part in term.split(" + "):
        words = [_normalised(word).strip() for word in part.split("|")]
        if not all(re.search(r"[^\W_]", word) for word in words):
            raise RequestError(
                f"the term {shown(term)} has an empty word; allowed: 'word', 'a|b', 'a + b'"
            )
        latin = [_pattern(word) for word in words if not _is_dense(word)]
        dense = tuple(re.sub(r"[\W_]", "", word) for word in words if _is_dense(word))
        parts.append((re.compile("|".join(latin)) if latin else None, dense))
    return parts


def _is_dense(word: str) -> bool:
    """Return whether a word is of a script that puts no spaces between words."""
    return any("\u2e80" <= letter <= "\u9fff" or "\uac00" <= letter <= "\ud7af" for letter in word)


def _pattern(phrase: str) -> str:
    """Match a phrase whose letters stand together, are joined by signs, or all stand apart."""
    words = re.findall(r"[^\W_]+", phrase)
    together = r"[\W_]*".join(rf"(?:{GAP}){{0,2}}".join(word) for word in words)
    apart = r"[\W_]{1,3}".join("".join(words))
    return rf"(?<![^\W_])(?:{together}|{apart})(?![^\W_])"


def _search(part: Part, text: str, dense: str) -> str | None:
    """Return what was found of a part, in the words of the prompt."""
    latin, chinese = part
    match = latin.search(text) if latin else None
    if match:
        return match[0]
    return next((word for word in chinese if word in dense), None)


def _normalised(text: str) -> str:
    """Make one of the many spellings of the same letters; invisible ones and accents go."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    seen = "".join(c for c in folded if unicodedata.category(c) not in ("Cf", "Mn", "Me"))
    return unicodedata.normalize("NFC", seen)
