"""How a service is set up: a TOML file, the environment and flags, the later over the earlier.

`Settings` has a field for everything; its help is the help of the flag, the comment in the file
that `kineo serve --print-config` writes, and the table in docs/serve.md.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from kineograph.errors import RequestError, shown

MICRO = 1_000_000  # micro-credits a credit
ENVIRONMENT = "KINEO_"  # before the name of a setting, in capitals


@dataclass(frozen=True)
class Tier:
    """What the accounts of one kind may do, and how their jobs stand in the queue."""

    rank: int = 0  # a waiting job of a higher rank interrupts a running one of a lower rank
    weight: float = 1.0  # its share of the workers beside others'
    boost: float = 0.0  # seconds by which its jobs count as older
    in_hand: int = 5  # videos waiting, running or paused at a time
    per_minute: int = 10  # submissions
    polls_per_minute: int = 600  # other requests
    seconds_per_day: float = 600.0  # of video, submitted within 24 hours
    pays: bool = True  # False: its videos cost no credits

    def __post_init__(self) -> None:
        for name in ("weight", "in_hand", "per_minute", "polls_per_minute", "seconds_per_day"):
            if not getattr(self, name) > 0:
                raise RequestError(f"{name} {getattr(self, name)} of a tier must be above 0")


TIERS = {
    "free": Tier(),
    "member": Tier(rank=1, weight=4.0, boost=3600.0, in_hand=20, per_minute=60,
                   polls_per_minute=3000, seconds_per_day=6000.0),
    "operator": Tier(rank=1, weight=4.0, boost=3600.0, in_hand=100_000, per_minute=100_000,
                     polls_per_minute=1_000_000, seconds_per_day=1e9, pays=False),
}  # fmt: skip


def _setting(default: Any, help: str) -> Any:  # noqa: ANN401 - the type of `dataclasses.field`
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Settings:
    """Everything that can be set; the defaults serve one machine and one person."""

    data: str = _setting("kineo-data", "folder of the database, the videos and the secret")
    database: str = _setting("", "sqlite:///FILE or postgresql://...; default: DATA/kineo.sqlite")
    storage: str = _setting(
        "", "folder or s3://bucket/prefix that holds the videos; default: DATA/files"
    )
    host: str = _setting("127.0.0.1", "address to listen at")
    port: int = _setting(8000, "port to listen at")
    public_url: str = _setting(
        "", "address that clients reach the service at; default: the one they ask"
    )
    open: str = _setting(
        "auto",
        "whether requests without a key are served, as the account 'local' of the tier operator: "
        "yes, no, or auto: where only this machine can reach the service",
    )
    workers: int = _setting(1, "workers that `kineo serve` starts on this machine")
    models: str = _setting("nano", "models that are offered, with commas between; first: default")
    kling_models: dict[str, str] = field(
        default_factory=dict, metadata={"help": "a Kling model_name to one of ours, each"}
    )
    generator: str = _setting("real", "real, or fake: no model, pictures of numbers, for tests")
    threads: int = _setting(0, "threads of a worker; 0: all cores divided by the workers")
    device: str = _setting("", "cpu, cuda or cuda:N; default: cuda where there is one")
    heartbeat: float = _setting(2.0, "seconds between two signs of life of a worker")
    dead_after: float = _setting(10.0, "seconds without one after which its jobs are taken over")
    poll: float = _setting(0.1, "seconds between two looks of a worker at the queue")
    checkpoint: float = _setting(
        2.0, "seconds between two states of a job in the storage; each step is fine on a GPU"
    )
    max_attempts: int = _setting(3, "failures at one place after which a job fails for good")
    max_losses: int = _setting(
        20, "workers lost at one place after which a job fails: it may be what kills them"
    )
    job_timeout: float = _setting(7200.0, "seconds without a step after which a job is stuck")
    drain: float = _setting(30.0, "seconds that a worker told to end has for ending a step")
    max_upload: int = _setting(200_000_000, "bytes of an uploaded file")
    max_body: int = _setting(260_000_000, "bytes of a request")
    fetch_urls: bool = _setting(False, "whether pictures and videos may be named by https URLs")
    fetch_domains: str = _setting("", "domains that may be fetched from; default: any public one")
    private_networks: str = _setting(
        "", "networks such as 10.0.0.0/8 that fetches and callbacks may reach though private"
    )
    callbacks: bool = _setting(True, "whether webhooks and callback_url are served")
    webhook_hours: float = _setting(72.0, "hours for which a webhook is tried again")
    policy: str = _setting(
        "", "file of words that are refused, or package.module:factory; default: a short list"
    )
    keep_days: float = _setting(30.0, "days that a finished video is kept")
    keep_input_hours: float = _setting(24.0, "hours that an upload is kept after its last use")
    max_queue: int = _setting(100_000, "videos that may wait; more are refused with 503")
    price: float = _setting(1.0, "credits a second of a worker, by which videos are priced")
    prices: dict[str, float] = field(
        default_factory=dict, metadata={"help": "the same for single models, by name"}
    )
    worker_cost: float = _setting(
        0.00069, "what a second of a worker costs you, in your currency; for the admin page"
    )
    signup: bool = _setting(False, "whether anybody may apply for access at /v1/applications")
    invited_credits: float = _setting(100.0, "credits of one who is admitted without a number")
    secret: str = _setting("", "secret of this installation; default: made once, DATA/secret")
    secret_before: str = _setting("", "the one before it, while links and callbacks know it yet")
    admin_token: str = _setting("", "token for /admin and /metrics from afar; default: none")
    log: str = _setting("info", "debug, info, warning or error")
    log_format: str = _setting("auto", "json or text; auto: text on a terminal")
    tiers: dict[str, Tier] = field(
        default_factory=lambda: dict(TIERS),
        metadata={"help": "tables of rank, weight, boost and limits, by name"},
    )

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise RequestError(
                    f"{name} {shown(getattr(self, name))} is not allowed; {', '.join(allowed)} are"
                )
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise RequestError(
                    f"{name} {getattr(self, name)} is not allowed; {low} to {high} is"
                )
        if not self.offered():
            raise RequestError("models names none; name one at least, such as nano")
        if self.dead_after < 2 * self.heartbeat:
            raise RequestError(
                f"dead_after {self.dead_after} must be twice the heartbeat of {self.heartbeat} "
                "at least: a worker would be taken for dead between two signs of life"
            )

    def offered(self) -> list[str]:
        """Return the names of the models, the default first."""
        return _listed(self.models)

    def database_url(self) -> str:
        return self.database or f"sqlite:///{Path(self.data).resolve() / 'kineo.sqlite'}"

    def storage_url(self) -> str:
        return self.storage or str(Path(self.data).resolve() / "files")

    def is_open(self) -> bool:
        """Whether requests without a key are served."""
        if self.open == "auto":
            return self.host in ("127.0.0.1", "localhost", "::1")
        return self.open == "yes"

    def tier(self, name: str) -> Tier:
        """Return a tier; an account whose tier is gone has the free one's rights."""
        return self.tiers.get(name) or self.tiers["free"]

    def price_of(self, model: str, seconds: float) -> int:
        """Return the micro-credits that some seconds of a worker cost."""
        return round(seconds * self.prices.get(model, self.price) * MICRO)

    def networks(self) -> tuple[str, ...]:
        return tuple(_listed(self.private_networks))


_CHOICES = {
    "open": ("auto", "yes", "no"),
    "generator": ("real", "fake"),
    "log": ("debug", "info", "warning", "error"),
    "log_format": ("auto", "json", "text"),
}
_RANGES: dict[str, tuple[float, float]] = {
    "port": (0, 65535),
    "workers": (0, 256),
    "threads": (0, 1024),
    "heartbeat": (0.05, 60),
    "dead_after": (0.1, 3600),
    "poll": (0.005, 10),
    "checkpoint": (0, 3600),
    "max_attempts": (1, 100),
    "max_losses": (1, 10_000),
    "drain": (0, 3600),
    "keep_days": (0.001, 36_500),
    "price": (0, 1e6),
}


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def load_settings(
    path: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings of a file, the environment and flags, the later over the earlier.

    Raises:
        RequestError: a name is unknown, or a value is of another type or out of range.
        OSError: the file cannot be read.
    """
    given: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RequestError(f"{path} is not TOML: {error}") from None
        given |= {name: _typed(str(path), name, value) for name, value in table.items()}
    for f in fields(Settings):
        text = environment.get(ENVIRONMENT + f.name.upper())
        if text is not None:
            given[f.name] = _from_text(f, text)
    given |= {name: value for name, value in (flags or {}).items() if value is not None}
    return Settings(**given)


def _typed(where: str, name: str, value: object) -> Any:  # noqa: ANN401 - of the field's type
    known = {f.name: f for f in fields(Settings)}
    if name not in known:
        raise RequestError(f"{where}: unknown setting {name!r}; allowed: {', '.join(known)}")
    if name == "tiers":
        return _tiers(where, value)
    kind = kind_of(known[name])
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise RequestError(f"{where}: {name} {shown(value)} must be of type {kind.__name__}")
    return value


def _tiers(where: str, value: object) -> dict[str, Tier]:
    if not isinstance(value, dict):
        raise RequestError(f"{where}: tiers {shown(value)} must be tables, such as [tiers.free]")
    tiers = dict(TIERS)
    for name, table in value.items():
        allowed = {f.name for f in fields(Tier)}
        if not isinstance(table, dict) or not set(table) <= allowed:
            raise RequestError(
                f"{where}: tiers.{name} {shown(table)} has unknown fields; "
                f"allowed: {', '.join(sorted(allowed))}"
            )
        kinds = {f.name: kind_of(f) for f in fields(Tier)}
        typed: dict[str, Any] = {
            k: float(v) if kinds[k] is float and type(v) is int else v for k, v in table.items()
        }
        for key, given in typed.items():
            if type(given) is not kinds[key]:
                raise RequestError(
                    f"{where}: tiers.{name}.{key} {shown(given)} must be of type "
                    f"{kinds[key].__name__}"
                )
        tiers[name] = replace(tiers.get(name, Tier()), **typed)
    return tiers


def _from_text(f: Field[Any], text: str) -> Any:  # noqa: ANN401 - of the field's type
    kind = kind_of(f)
    name = ENVIRONMENT + f.name.upper()
    if kind is bool:
        if text.lower() not in ("1", "0", "true", "false", "yes", "no"):
            raise RequestError(f"{name} {shown(text)} is not allowed; yes or no is")
        return text.lower() in ("1", "true", "yes")
    if kind is dict:
        try:
            return _typed(name, f.name, tomllib.loads(f"value = {text}")["value"])
        except tomllib.TOMLDecodeError:
            raise RequestError(f"{name} {shown(text)} must be a table, as {{a = 1}}") from None
    try:
        return kind(text)
    except ValueError:
        raise RequestError(f"{name} {shown(text)} must be of type {kind.__name__}") from None


def kind_of(f: Field[Any]) -> type[Any]:
    """Return the type of a setting's values."""
    kinds: dict[str, type[Any]] = {"str": str, "int": int, "float": float, "bool": bool}
    return kinds.get(str(f.type), dict)


def as_toml(settings: Settings) -> str:
    """Return the settings as a file that makes them, each with its help as a comment."""
    lines, tables = [], []
    for f in fields(Settings):
        value, help = getattr(settings, f.name), f.metadata["help"]
        if f.name == "tiers":
            for name, tier in value.items():
                tables.append(f"\n[tiers.{name}]")
                tables += [f"{k} = {_toml(v)}" for k, v in asdict(tier).items()]
        elif isinstance(value, dict):
            tables += [f"\n# {help}", f"[{f.name}]"]
            tables += [f"{_toml(k)} = {_toml(v)}" for k, v in value.items()]
        else:
            shown_value = "" if f.name in SECRET else value
            lines += [f"# {help}", f"{f.name} = {_toml(shown_value)}", ""]
    return "\n".join([*lines, *tables]) + "\n"


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the settings as environment variables that make them."""
    found = {}
    for f in fields(Settings):
        value = getattr(settings, f.name)
        if f.name == "tiers":
            value = {name: asdict(tier) for name, tier in value.items()}
        found[ENVIRONMENT + f.name.upper()] = (
            _inline(value) if isinstance(value, dict) else str(value)
        )
    return found


def _inline(value: object) -> str:
    if not isinstance(value, dict):
        return _toml(value)
    return "{" + ", ".join(f"{_toml(k)} = {_inline(v)}" for k, v in value.items()) + "}"


SECRET = ("secret", "secret_before", "admin_token", "database")  # settings that are never shown


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)
