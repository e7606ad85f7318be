"""Who may do what: accounts, their API keys, and whose key a request came with.

A token is kineo_ID_SECRET_CHECK. The database holds the id and the SHA-256 of the secret, which
is random and long, so that neither a slow hash nor a salt would add anything. The check is a CRC
of what stands before it: a slip of the hand is told without the database, and a scanner of
published code knows a token by `TOKEN`. Clients of Kling sign short-lived tokens instead, with the
id as their access key and the secret as their secret key; only for keys that are made for that is
the secret kept, sealed.
"""

from __future__ import annotations

import hmac
import math
import re
import zlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
from sqlalchemy import Connection, RowMapping, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from kineograph.errors import shown
from kineograph.serve import ledger, refusals
from kineograph.serve.ids import ALPHABET, hashed, new_id, random_text
from kineograph.serve.refusals import Conflict, Forbidden, NoAccess, NotFound, Refusal
from kineograph.serve.sealing import load_secret, seal, unseal
from kineograph.serve.settings import Settings
from kineograph.serve.tables import accounts, keys

SCOPES = {
    "videos:write": "submit, change and delete the account's videos and uploads",
    "videos:read": "see and download the account's videos",
    "account": "see the account's credits and limits; manage its keys and webhooks",
    "admin": "run the service: every account, the queue and the invitations",
}
USUAL = ("videos:write", "videos:read", "account")
LOCAL = "local"  # the account of requests without a key, where those are served
OPERATOR = "operator"  # its tier
MOST_KEYS = 100  # of an account that are neither revoked nor expired
SEEN_EVERY = 60.0  # seconds between two notes of when a key was used
DAY = 86_400.0
LEEWAY = 5.0  # seconds by which the clocks of a signer and of the service may differ
LONGEST_OVERLAP = 7 * DAY  # seconds
LONGEST_SIGNED = 4096  # characters

PREFIX = "kineo_"
TOKEN = re.compile(
    f"{PREFIX}(?P<id>[{ALPHABET}]{{12}})_(?P<secret>[{ALPHABET}]{{40}})_(?P<check>[{ALPHABET}]{{7}})"
)
_MISTYPED = "this is no API key of this service, or it is incomplete or mistyped"
_UNKNOWN = "the API key is not valid"
_UNSIGNED = "the signed token is not valid"
_NOBODY = "0" * 64  # is compared where there is no hash, and is that of no secret


@dataclass(frozen=True)
class NewKey:
    """A key that was just made; its token is shown now and never again."""

    id: str  # also the access key of signed tokens
    name: str
    scopes: tuple[str, ...]
    expires_at: float | None
    token: str = field(repr=False)

    @property
    def secret(self) -> str:
        """The secret key of signed tokens."""
        return self.token.split("_")[2]


@dataclass(frozen=True)
class Identity:
    """Who asks, and what the key may be used for."""

    account: RowMapping
    key_id: str | None  # None: no key was needed
    scopes: frozenset[str]
    tier: str
    seen_due: bool = False  # whether `touch` is to be called, when there is time to write

    @property
    def account_id(self) -> str:
        return str(self.account["id"])

    def require(self, scope: str) -> None:
        """Refuse what this key is not for.

        Raises:
            Forbidden: the scope is not among the key's.
        """
        if scope not in self.scopes:
            has = ", ".join(s for s in SCOPES if s in self.scopes) or "none"
            raise Forbidden(f"this needs a key of scope {scope!r}; the key's scopes are: {has}")


def create_account(
    connection: Connection, name: str, tier: str, settings: Settings, now: float,
    *, credits: float = 0.0, note: str = "",
) -> RowMapping:  # fmt: skip
    """Make an account of a tier, with some credits.

    Raises:
        Refusal: the name, the tier or the number of credits is not allowed.
    """
    _check_name(name)
    check_tier(tier, settings)
    if not 0 <= credits <= 1e9:
        raise Refusal(f"credits {credits} are not allowed; 0 to 1e9 are", param="credits")
    id = new_id("acct")
    connection.execute(insert(accounts).values(id=id, name=name, tier=tier, created_at=now))
    if credits:
        ledger.grant(connection, id, credits, now=now, note=note)
    return get_account(connection, id)


def ensure_local_account(connection: Connection, now: float) -> RowMapping:
    """Return the account of requests without a key; it is made where there is none."""
    here = select(accounts).where(accounts.c.id == LOCAL)
    if (row := connection.execute(here).mappings().first()) is not None:
        return row
    values = dict(id=LOCAL, name=LOCAL, tier=OPERATOR, created_at=now)
    with suppress(IntegrityError), connection.begin_nested():  # another process may be faster
        connection.execute(insert(accounts).values(values))
    return connection.execute(here).mappings().one()


def without_key(account: RowMapping, scopes: Collection[str] = tuple(SCOPES)) -> Identity:
    """Return the identity of a request that needs no key."""
    return Identity(account, None, frozenset(scopes), account["tier"])


def get_account(connection: Connection, id: str) -> RowMapping:
    """Return an account's row.

    Raises:
        NotFound: there is none of this id.
    """
    row = connection.execute(select(accounts).where(accounts.c.id == id)).mappings().first()
    if row is None:
        raise NotFound(f"there is no account {shown(id)}")
    return row


def list_accounts(connection: Connection, *, limit: int = 100, offset: int = 0) -> list[RowMapping]:
    """Return some accounts, the newest first."""
    order = (accounts.c.created_at.desc(), accounts.c.id)
    query = select(accounts).order_by(*order).limit(limit).offset(offset)
    return list(connection.execute(query).mappings())


def set_tier(connection: Connection, id: str, tier: str, settings: Settings) -> None:
    """Give an account another tier; its jobs in the queue stay where they are.

    Raises:
        NotFound: there is no such account.
        Refusal: there is no such tier.
    """
    check_tier(tier, settings)
    get_account(connection, id)
    connection.execute(update(accounts).where(accounts.c.id == id).values(tier=tier))


def disable_account(connection: Connection, id: str, now: float | None) -> None:
    """Refuse all of an account's keys from now on; for None, let them be used again.

    Raises:
        NotFound: there is no such account.
    """
    get_account(connection, id)
    connection.execute(update(accounts).where(accounts.c.id == id).values(disabled_at=now))


def check_tier(tier: str, settings: Settings) -> None:
    """Refuse a tier that the settings do not know.

    Raises:
        Refusal: they do not.
    """
    if tier not in settings.tiers:
        known = ", ".join(settings.tiers)
        raise Refusal(f"unknown tier {shown(tier)}; allowed: {known}", param="tier")


def _check_name(name: str) -> None:
    if not 1 <= len(name.strip()) <= len(name) <= 200 or not name.isprintable():
        raise Refusal(
            f"name {shown(name)} is not allowed; 1 to 200 printable characters are", param="name"
        )


def create_key(
    connection: Connection, account_id: str, name: str, settings: Settings, now: float,
    *, scopes: Collection[str] = USUAL, expires_at: float | None = None, signing: bool = False,
    within: Collection[str] | None = None,
) -> NewKey:  # fmt: skip
    """Make a key of an account. What it returns holds the token, which is stored nowhere.

    `expires_at` is in seconds since 1970; `signing` keeps the secret, sealed, so that tokens
    signed with it can be checked; `within` are the scopes of the key that asks for this one.

    Raises:
        NotFound: there is no such account.
        Refusal: a scope is unknown, the name is too long, or the expiry lies behind.
        Forbidden: a scope is wanted that is not within those of the key that asks.
        Conflict: the account has as many keys as it may.
    """
    get_account(connection, account_id)
    _check_name(name)
    _check_scopes(scopes, within)
    if expires_at is not None and not now < expires_at < math.inf:
        raise Refusal(
            f"expires_at {expires_at} is not allowed; a time after now, {now:.0f}, is",
            param="expires_at",
        )
    alive = keys.c.revoked_at.is_(None) & or_(keys.c.expires_at.is_(None), keys.c.expires_at > now)
    mine = select(func.count()).select_from(keys).where(keys.c.account_id == account_id, alive)
    count = connection.scalar(mine)
    if (count or 0) >= MOST_KEYS:
        raise Conflict(f"the account has {count} keys, as many as it may; revoke one first")
    id, secret = random_text(12), random_text(40)
    ordered = tuple(s for s in SCOPES if s in scopes)
    connection.execute(
        insert(keys).values(
            id=id, account_id=account_id, name=name, hash=hashed(secret),
            sealed=seal(load_secret(settings), secret, f"key {id}") if signing else None,
            scopes=" ".join(ordered), created_at=now, expires_at=expires_at,
        )
    )  # fmt: skip
    start = f"{PREFIX}{id}_{secret}"
    return NewKey(id, name, ordered, expires_at, f"{start}_{_check(start)}")


def _check_scopes(scopes: Collection[str], within: Collection[str] | None) -> None:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise Refusal(
            f"scopes {shown(unknown or scopes)} are not allowed; some of {', '.join(SCOPES)} are",
            param="scopes",
        )
    beyond = [] if within is None else sorted(set(scopes) - set(within))
    if beyond:
        raise Forbidden(
            f"a key gives no more than it may itself: not {', '.join(beyond)}", param="scopes"
        )


def _check(start: str) -> str:
    """Return the CRC-32 of the start of a token, five bits a character."""
    crc = zlib.crc32(start.encode())
    return "".join(ALPHABET[crc >> shift & 31] for shift in range(30, -1, -5))


def revoke_key(connection: Connection, account_id: str | None, id: str, now: float) -> None:
    """Revoke a key for good; of any account where None is named. Twice is as good as once.

    Raises:
        NotFound: there is none, or it is another account's.
    """
    row = _key_of(connection, account_id, id)
    if row["revoked_at"] is None:
        connection.execute(update(keys).where(keys.c.id == id).values(revoked_at=now))


def rotate_key(
    connection: Connection, account_id: str | None, id: str, settings: Settings, now: float,
    *, overlap: float = 0.0, within: Collection[str] | None = None,
) -> NewKey:  # fmt: skip
    """Make a key like another one, for as long from now, and let that one end.

    The old one is good for another `overlap` seconds, a week at most; for none, it is revoked.

    Raises:
        NotFound: there is no such key, or it is another account's.
        Conflict: it is revoked or expired.
        Refusal: the overlap is out of range.
        Forbidden: it may more than the key that asks.
    """
    row = _key_of(connection, account_id, id)
    if not 0 <= overlap <= LONGEST_OVERLAP:
        raise Refusal(
            f"overlap {overlap} is not allowed; 0 to {LONGEST_OVERLAP:.0f} s are", param="overlap"
        )
    ends = math.inf if row["expires_at"] is None else row["expires_at"]
    if row["revoked_at"] is not None or ends <= now:
        raise Conflict(f"key {id!r} is revoked or expired; make a new one")
    # The old one ends first, so that an account that is at its limit can rotate.
    change = {"expires_at": min(ends, now + overlap)} if overlap else {"revoked_at": now}
    connection.execute(update(keys).where(keys.c.id == id).values(change))
    lasts = None if row["expires_at"] is None else now + row["expires_at"] - row["created_at"]
    return create_key(
        connection, row["account_id"], row["name"], settings, now, within=within,
        scopes=row["scopes"].split(), expires_at=lasts, signing=row["sealed"] is not None,
    )  # fmt: skip


def list_keys(connection: Connection, account_id: str) -> list[dict[str, Any]]:
    """Return an account's keys, the newest first: all that may be shown of them."""
    query = select(keys).where(keys.c.account_id == account_id)
    rows = connection.execute(query.order_by(keys.c.created_at.desc(), keys.c.id))
    return [
        {name: row[name] for name in row if name not in ("hash", "sealed", "account_id")}
        | {"scopes": row["scopes"].split(), "signing": row["sealed"] is not None}
        for row in rows.mappings()
    ]


def _key_of(connection: Connection, account_id: str | None, id: str) -> RowMapping:
    mine = () if account_id is None else (keys.c.account_id == account_id,)
    here = select(keys).where(keys.c.id == id, *mine).with_for_update()
    row = connection.execute(here).mappings().first()
    if row is None:
        raise NotFound(f"there is no key {shown(id)}")
    return row


def identify(connection: Connection, token: str, now: float) -> Identity:
    """Return whose key a token is. It only reads: see `Identity.seen_due`.

    Raises:
        NoAccess: it is nobody's; or it is revoked, expired or of a disabled account.
    """
    match = TOKEN.fullmatch(token)
    if match is None or match["check"] != _check(token.rpartition("_")[0]):
        raise NoAccess(_MISTYPED)
    row = connection.execute(select(keys).where(keys.c.id == match["id"])).mappings().first()
    known = _NOBODY if row is None else row["hash"]
    if not hmac.compare_digest(hashed(match["secret"]), known) or row is None:
        raise NoAccess(_UNKNOWN)
    return _identity(connection, row, now)


def identify_signed(connection: Connection, token: str, settings: Settings, now: float) -> Identity:
    """Return whose key has signed a JSON Web Token, as Kling's clients send: HS256, iss, exp, nbf.

    It only reads: see `Identity.seen_due`.

    Raises:
        NoAccess: it is signed by nobody's key, or not now valid; or the key is revoked, expired
            or of a disabled account.
    """
    id = str(_decoded(token, None).get("iss"))
    row = None
    if re.fullmatch(f"[{ALPHABET}]+", id):
        row = connection.execute(select(keys).where(keys.c.id == id)).mappings().first()
    if row is None or row["sealed"] is None:
        raise NoAccess(_UNSIGNED)
    claims = _decoded(token, unseal(load_secret(settings), row["sealed"], f"key {id}"))
    _check_times(claims, now)
    return _identity(connection, row, now)


def _decoded(token: str, secret: str | None) -> dict[str, Any]:
    """Return the claims of a signed token; unverified where no secret is given."""
    # Times are compared elsewhere, with the clock of everything else.
    options: Any = {"require": ["exp", "iss"], "verify_signature": secret is not None,
                    "verify_exp": False, "verify_nbf": False, "verify_iat": False}  # fmt: skip
    try:
        if len(token) > LONGEST_SIGNED:
            raise NoAccess(_UNSIGNED)
        return jwt.decode(token, secret or "", algorithms=["HS256"], options=options)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):  # hostile JSON, among others
        raise NoAccess(_UNSIGNED) from None


def _check_times(claims: dict[str, Any], now: float) -> None:
    exp, nbf = claims["exp"], claims.get("nbf", 0)
    if not all(type(value) in (int, float) for value in (exp, nbf)):
        raise NoAccess("exp and nbf of the signed token must be seconds since 1970")
    if not exp > now - LEEWAY:
        raise refusals.TooLate("the signed token is expired")
    if not exp <= now + DAY + LEEWAY:
        raise NoAccess("exp of the signed token is more than a day ahead; a day is allowed")
    if not nbf <= now + LEEWAY:
        raise refusals.TooEarly("the signed token is not valid yet")


def _identity(connection: Connection, row: RowMapping, now: float) -> Identity:
    """Return the identity of a key that was shown to be its sender's."""
    if row["revoked_at"] is not None:
        raise NoAccess("the API key was revoked")
    if row["expires_at"] is not None and row["expires_at"] <= now:
        ended = datetime.fromtimestamp(row["expires_at"], UTC)
        raise NoAccess(f"the API key expired at {ended.isoformat(timespec='seconds')}")
    account = get_account(connection, row["account_id"])
    if account["disabled_at"] is not None:
        raise refusals.Disabled("the account of this API key is disabled")
    due = row["used_at"] is None or row["used_at"] <= now - SEEN_EVERY
    return Identity(account, row["id"], frozenset(row["scopes"].split()), account["tier"], due)


def touch(connection: Connection, key_id: str, now: float) -> None:
    """Write down that a key is used, once a minute at most; in a transaction that writes."""
    due = or_(keys.c.used_at.is_(None), keys.c.used_at <= now - SEEN_EVERY)
    connection.execute(update(keys).where(keys.c.id == key_id, due).values(used_at=now))
