"""Names that cannot be guessed: ids of videos and keys, codes and secrets."""

from __future__ import annotations

import hashlib
import secrets

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # without letters that look alike


def new_id(kind: str, length: int = 22) -> str:
    """Return a new id such as video_4k..., of five random bits a character."""
    return f"{kind}_{random_text(length)}"


def random_text(length: int) -> str:
    """Return random characters, five bits each, from the operating system."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def hashed(text: str) -> str:
    """Return the SHA-256 of a secret in hex; enough, since secrets here are long and random."""
    return hashlib.sha256(text.encode()).hexdigest()
