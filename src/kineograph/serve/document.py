"""The OpenAPI document: what the routes say of themselves, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from kineograph.serve.schemas_bodies import components
from kineograph.serve.settings import Settings
from kineograph.spec import ModelSpec

OPEN_TO_ALL = ("/health", "/ready")
ABOUT = """\
Videos are made of words, pictures and videos; the queue is fair, and nothing submitted is lost.
Every error is `{"error": {"message", "type", "param", "code"}}`, on the paths of Kling's API
`{"code", "message", "request_id"}`; each message names the value and what is allowed.
"""


def document_of(
    app: FastAPI, settings: Settings, specs: Collection[ModelSpec]
) -> Callable[[], dict[str, Any]]:
    """Return what makes the document of an application; it is made once."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, settings, specs)
        return app.openapi_schema

    return document


def _document(app: FastAPI, settings: Settings, specs: Collection[ModelSpec]) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=ABOUT,
        routes=app.routes,
    )  # fmt: skip
    parts = found.setdefault("components", {})
    parts.setdefault("schemas", {}).update(components(specs))
    parts["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer",
                "description": "an API key, or a token that is signed with one (HS256)"},
    }  # fmt: skip
    found["security"] = [{"key": []}, {}] if settings.is_open() else [{"key": []}]
    for path, operations in found["paths"].items():
        for operation in operations.values():
            if path in OPEN_TO_ALL:
                operation["security"] = []
            # What the framework says of wrong parameters; here they are answered with 400.
            told = operation["responses"].get("422", {})
            if "HTTPValidationError" in str(told):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(name, None)
    return found
