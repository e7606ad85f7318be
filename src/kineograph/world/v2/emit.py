"""Kernels as C++: what a function of tensors computes for each ray, written out as a loop.

The functions of `kernels` and `look` are run once on symbols instead of tensors. What comes out
is a list of steps without branches, each found once, over vectors of `LANES` rays. So what is
computed for a ray has one text, whoever computes it; which primitives a block of rays has to do
with is decided in `native.cpp` as in `kernels`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "truediv": "/"}  # by their Python names
COMPARED = {"lt": "<", "gt": ">", "eq": "==", "le": "<=", "ge": ">=", "and": "&", "or": "|"}
CALLED = frozenset(("sqrt", "rsqrt", "sin", "cos", "exp", "floor", "abs", "sign", "atan2"))


class Code:
    """The steps of one kernel, and what it writes where."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.known: dict[str, Value] = {}
        self.written: dict[str, Value] = {}

    def step(self, text: str, *, mask: bool = False) -> Value:
        """Return the value of an expression, which is computed once."""
        if text not in self.known:
            name = f"{'m' if mask else 'v'}{len(self.lines)}"
            self.lines.append(f"const {'Mask' if mask else 'Vector'} {name} = {text};")
            self.known[text] = Value(self, name)
        return self.known[text]

    def constant(self, number: float | Value) -> Value:
        """Return a number as a value, or a value as it is."""
        return number if isinstance(number, Value) else self.step(f"all({float(number)!r}f)")


class Value:
    """One number a ray; stands for a tensor `m p` where functions are traced."""

    def __init__(self, code: Code, name: str, place: str = "") -> None:
        self.code, self.name, self.place = code, name, place

    def _two(self, operator: str, a: float | Value, b: float | Value) -> Value:
        one, other = self.code.constant(a), self.code.constant(b)
        mask = operator not in ARITHMETIC.values()
        return self.code.step(f"{one.name} {operator} {other.name}", mask=mask)

    def _call(self, name: str, *more: float | Value) -> Value:
        given = [self, *(self.code.constant(m) for m in more)]
        return self.code.step(f"{name}({', '.join(v.name for v in given)})")

    def clamp(self, low: float, high: float) -> Value:
        """Return the value kept between two numbers."""
        return self.clamp_min(low).clamp_max(high)

    def clamp_min(self, low: float) -> Value:
        """Return the greater of the value and a number."""
        return self._call("most", low)

    def clamp_max(self, high: float) -> Value:
        """Return the smaller of the value and a number."""
        return self._call("least", high)

    def copy_(self, new: float | Value) -> None:
        """Write a value where this one was read."""
        self.code.written[self.place] = self.code.constant(new)

    def __neg__(self) -> Value:
        return self.code.step(f"-{self.name}")

    def __getattr__(self, name: str) -> Callable[..., Value]:
        if name not in CALLED:
            raise AttributeError(f"{name} cannot be written out")
        return lambda *more: self._call(name, *more)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None  # noqa: ANN401
    ) -> Value:
        name = func.__name__
        code = next(a for a in args if isinstance(a, Value)).code
        values = [code.constant(a) for a in args]
        if name == "where":
            chosen = f"{values[0].name} ? {values[1].name} : {values[2].name}"
            return code.step(chosen)
        if name in ("minimum", "maximum"):
            return values[0]._call("least" if name == "minimum" else "most", values[1])
        if name in ("zeros_like", "ones_like"):
            return code.constant(float(name == "ones_like"))
        if name == "full_like":
            return values[1]
        return getattr(values[0], name)(*values[1:])


def _infix(operator: str, *, swapped: bool = False) -> Callable[[Value, Any], Value]:
    def method(self: Value, other: float | Value) -> Value:
        return self._two(operator, other, self) if swapped else self._two(operator, self, other)

    return method


for _name, _operator in (ARITHMETIC | COMPARED).items():
    setattr(Value, f"__{_name}__", _infix(_operator))
for _name, _operator in ARITHMETIC.items():
    setattr(Value, f"__r{_name}__", _infix(_operator, swapped=True))


class Row:
    """Numbers of a block, a column each; stands for a tensor `m n`."""

    def __init__(self, code: Code, name: str, first: int = 0) -> None:
        self.code, self.name, self.first = code, name, first

    def __getitem__(self, index: tuple[slice, slice]) -> Row | Value:
        """Return columns: one as a value, several as a row of their own."""
        start, stop = index[1].start, index[1].stop
        if stop - start == 1:
            return self.code.step(f"all({self.name}[{self.first + start}])")
        return Row(self.code, self.name, self.first + start)


class Given(dict[str, Any]):
    """Symbols by name; a vector's three columns, `d0 d1 d2`, are found together as `d`."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a Value, a Row or three Values
        return self[name] if name in self else tuple(self[f"{name}{i}"] for i in range(3))


Formula = Callable[[Given], dict[str, Any] | None]


def loop(
    name: str, compute: Formula, rays: Sequence[str],
    rows: Sequence[str] = (), numbers: Sequence[str] = (),
) -> str:  # fmt: skip
    """Return a C++ function: `compute` for n rays, LANES at a time.

    `rays` are read from arrays of so many numbers, `rows` are numbers of the block, `numbers`
    one each; `compute` is given a `Value` or `Row` for each by its name, changes rays by `copy_`,
    and returns what is written to other arrays.
    """
    code = Code()
    given = Given()
    given |= {ray: Value(code, code.step(f"read({ray} + i)").name, ray) for ray in rays}
    given |= {row: Row(code, row) for row in rows}
    given |= {number: code.step(f"all({number})") for number in numbers}
    for place, value in (compute(given) or {}).items():
        code.written[place] = code.constant(value)
    arrays = dict.fromkeys([*rays, *code.written])
    parameters = [
        "const int n", *(f"float *__restrict {a}" for a in arrays),
        *(f"const float *{r}" for r in rows), *(f"const float {r}" for r in numbers),
    ]  # fmt: skip
    body = [*code.lines, *(f"write({p} + i, {v.name});" for p, v in code.written.items())]
    inner = "\n".join(f"    {line}" for line in body)
    return (
        f"static void {name}({', '.join(parameters)}) {{\n"
        f"  for (int i = 0; i < n; i += LANES) {{\n{inner}\n  }}\n}}\n"
    )
