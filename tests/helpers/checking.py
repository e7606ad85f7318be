"""Checks of annotations at run time, tensor shapes included, that cost little.

jaxtyping's own decorator binds and checks the arguments of each call twice, which made half of
the time of many tests. This one lets beartype check them, and the result, once, with one memory
of the shapes' letters a call; a function of plain values needs none.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any

import jaxtyping
from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import install_import_hook
from jaxtyping._storage import pop_shape_memo, push_shape_memo
from sqlalchemy import RowMapping

WORD = re.compile(r"\w+")
# An int will do for a float, as static checkers have it. A row of a database says what its keys
# are in words that only its own module knows: it is looked at as an object.
CHECK = beartype(
    conf=BeartypeConf(
        is_pep484_tower=True, violation_type=TypeError,
        hint_overrides=FrozenDict({RowMapping: object}),
    )
)  # fmt: skip
PLAIN = {"int", "float", "str", "bool", "bytes", "None"}
# Formulas that are run on symbols as well (world/v2/emit.py): what stands for their hints then.
FORMULAS = tuple(f"world/v2/{name}.py" for name in ("kernels", "look", "trace"))
SYMBOLIC = {"Tensor": "_Symbol", "Vec": "tuple[_Symbol, _Symbol, _Symbol]"}
THEIRS = jaxtyping.jaxtyped


def checked(what: Any = None, *, typechecker: object = None) -> Any:
    """Return a function, class or method that checks what it is given and what it returns."""
    if what is None:
        return checked
    if inspect.isclass(what):
        if dataclasses.is_dataclass(what) and "__init__" in vars(what):
            what.__init__ = _checked(what.__init__)
        return what
    if isinstance(what, classmethod | staticmethod):
        return type(what)(_checked(what.__func__))
    if isinstance(what, property):
        parts = [f and _checked(f) for f in (what.fget, what.fset, what.fdel)]
        return property(*parts)
    return _checked(what) if inspect.isfunction(what) else what


@cache
def _names_of_checkers(path: str) -> frozenset[str]:
    """Return the names that a file imports for type checkers alone: they mean nothing here."""
    text = Path(path).read_text(encoding="utf-8")
    if "TYPE_CHECKING" not in text:
        return frozenset()
    tree = ast.parse(text)
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    only = [b for b in blocks if isinstance(b.test, ast.Name) and b.test.id == "TYPE_CHECKING"]
    return frozenset(
        alias.asname or alias.name
        for block in only for node in block.body if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    )  # fmt: skip


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    hints = getattr(function, "__annotations__", None)
    if not hints:
        return function
    path = function.__globals__["__file__"]
    unknown = _names_of_checkers(path)
    function.__annotations__ = {
        name: Any if isinstance(hint, str) and unknown & set(WORD.findall(hint)) else hint
        for name, hint in hints.items()
    }
    if path.endswith(FORMULAS):
        _let_symbols_in(function)
    if inspect.isgeneratorfunction(function):  # is looked at where it is called, not resumed
        found = THEIRS(function, typechecker=CHECK)
    else:
        found = _with_letters(CHECK(function)) if set(hints.values()) - PLAIN else CHECK(function)
    # What is asked for its signature says what was written.
    function.__annotations__ = hints
    return found


def _let_symbols_in(function: Callable[..., Any]) -> None:
    """Let a formula take tensors, or what it is written out with, and nothing else."""
    from torch import Tensor

    from kineograph.world.v2.emit import Row, Value

    function.__globals__["_Symbol"] = Tensor | Value | Row
    function.__annotations__ = {
        name: WORD.sub(lambda word: SYMBOLIC.get(word[0], word[0]), hint)
        for name, hint in function.__annotations__.items()
    }


def _with_letters(once: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(once)
    def with_letters(*given: Any, **named: Any) -> Any:
        push_shape_memo({})
        try:
            return once(*given, **named)
        finally:
            pop_shape_memo()

    return with_letters


def install() -> None:
    """Let every module of the package that is imported from now on be checked."""
    jaxtyping.jaxtyped = checked
    install_import_hook("kineograph", "checking.CHECK")
