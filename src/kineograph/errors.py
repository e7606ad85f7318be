"""Every error that Kineograph raises on purpose.

A message names the value that was given and what is allowed; the command line
prints it as one line and the service sends it as one JSON field.
"""

from __future__ import annotations

from collections.abc import Collection


class KineographError(Exception):
    """The base of every error that a caller may want to catch."""


class RequestError(KineographError):
    """The user asked for something that cannot be done: HTTP 4xx, exit status 2."""


class WeightsError(KineographError):
    """A weights file is missing, truncated, hostile, or does not fit its config."""


class HubError(KineographError):
    """The hub cannot be reached, or fails: nothing that the request could mend, exit status 1."""


SHOWN_CHARS = 60


def shown(value: object) -> str:
    """Return a value as a message may show it, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 3] + "..."


def choice(name: str, given: str | None, default: str, allowed: Collection[str]) -> str:
    """Return the value of a choice; a `RequestError` if it is none of those allowed."""
    value = default if given is None else given
    if value not in allowed:
        raise RequestError(f"unknown {name} {shown(value)}; allowed: {', '.join(allowed)}")
    return value
