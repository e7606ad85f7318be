"""Structured logs: a line an event, as JSON or as text, that never holds a secret."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

HIDDEN = re.compile(r"(authorization|token|secret|password|api_?key|signature|cookie)", re.I)
_TOKEN = re.compile(r"(kineo_[a-z0-9]+_)[a-z0-9]+|(whsec_)\S+|(Bearer )\S+|(://[^:/@\s]*:)[^@\s]+@")


def logger() -> Any:  # noqa: ANN401 - structlog's are made as they are used
    """Return the logger of the service."""
    import structlog  # when it is used: with it come the colours of terminals

    return structlog.get_logger("kineograph.serve")


def set_up(level: str, format: str) -> None:
    """Write logs to stderr from `level` on, as json or text; auto: text on a terminal."""
    import structlog

    text = format == "text" or (format == "auto" and sys.stderr.isatty())
    render: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if text
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def hide(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Take out what is secret by its name or its looks; the last step before a line is written."""
    for name, value in event.items():
        if HIDDEN.search(name):
            event[name] = "(hidden)"
        elif isinstance(value, str):
            event[name] = _TOKEN.sub(_cut, value)
    return event


def _cut(match: re.Match[str]) -> str:
    kept = next(group for group in match.groups() if group is not None)
    return f"{kept}(hidden)" + ("@" if match.group().endswith("@") else "")
