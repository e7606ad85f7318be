"""Why something failed, as a code and a line that any database takes."""

from __future__ import annotations

import errno

from kineograph.errors import KineographError, RequestError
from kineograph.serve.refusals import NotFound

LONGEST = 500  # characters of a line
NO_SPACE = "no_space"


def reason_of(error: Exception) -> tuple[str, str]:
    """Return the code and the line of what was raised while a video was made."""
    line = f"{error}" if isinstance(error, KineographError) else f"{type(error).__name__}: {error}"
    return _code(error), plain(line)


def may_pass(error: Exception) -> bool:
    """Whether it is worth another try: what is wrong with a request stays wrong."""
    return not isinstance(error, RequestError)


def plain(text: str) -> str:
    """Return a text in one line, without halves of characters and the character zero."""
    line = " ".join(text.split())[:LONGEST]
    return line.encode("utf-8", "replace").decode().replace("\0", "?")


def _code(error: Exception) -> str:
    if isinstance(error, NotFound):
        return "input_missing"
    if isinstance(error, RequestError):
        return "invalid_request"
    if isinstance(error, KineographError):
        return "generator_failed"
    if isinstance(error, OSError) and error.errno is not None:
        return NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else "io_error"
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return "out_of_memory"
    return "generator_failed"
