"""How people come in: codes that make an account, and a waiting list for those who have none.

Codes are stored as hashes. Who asks to be put on the list is told the same whether the service
knew them or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from kineograph.errors import shown
from kineograph.serve import ledger
from kineograph.serve.access import NewKey, check_tier, create_account, create_key
from kineograph.serve.ids import hashed, new_id, random_text
from kineograph.serve.refusals import Conflict, Gone, NotFound, Refusal, Unavailable
from kineograph.serve.settings import MICRO, Settings
from kineograph.serve.tables import applications, invitations

WAITING, ADMITTED, DECLINED = "waiting", "admitted", "declined"
GROUPS, LETTERS = 5, 4  # of a code: 100 random bits
MOST_USES = 100_000
MOST_CREDITS = 1e9
MOST_WAITING = 100_000  # applications
NOTE_CHARS = 2000
_READ_AS = str.maketrans("oil", "011", " -")  # letters that a code has not, and what is meant


@dataclass(frozen=True)
class Redeemed:
    """What a code was worth: an account and its first key."""

    account: RowMapping
    key: NewKey


@dataclass(frozen=True)
class Admitted:
    """Somebody who was on the waiting list; the code is shown now and never again."""

    application_id: str
    contact: str
    code: str = field(repr=False)


# Codes.


def create_invitation(
    connection: Connection, settings: Settings, now: float,
    *, tier: str = "free", credits: float | None = None, uses: int = 1,
    expires_at: float | None = None, note: str = "",
) -> str:  # fmt: skip
    """Make a code with which `uses` people can open an account; it is stored nowhere.

    `credits` go to each of them (None: the setting `invited_credits`); `expires_at` is in
    seconds since 1970.

    Raises:
        Refusal: the tier is unknown, or a number is out of range.
    """
    check_tier(tier, settings)
    credits = settings.invited_credits if credits is None else credits
    ends = math.inf if expires_at is None else expires_at
    for name, value, low, high in (
        ("credits", credits, 0, MOST_CREDITS),
        ("uses", uses, 1, MOST_USES),
        ("expires_at", ends, now, math.inf),
    ):
        if not low <= value <= high:
            raise Refusal(f"{name} {value} is not allowed; {low} to {high} is", param=name)
    _check_note(note)
    code = "-".join(random_text(LETTERS) for _ in range(GROUPS))
    connection.execute(
        insert(invitations).values(
            hash=_hash(code), tier=tier, credits=round(credits * MICRO), left=uses, note=note,
            created_at=now, expires_at=expires_at,
        )
    )  # fmt: skip
    return code


def redeem(
    connection: Connection, code: str, name: str, settings: Settings, now: float
) -> Redeemed:
    """Open an account with a code; the last use of a code is taken by one alone.

    Raises:
        NotFound: there is no such code.
        Gone: it is used up or expired.
        Refusal: the name is not allowed.
    """
    hash = _hash(code)
    # One statement takes the use, and holds the row until the account is there.
    taken = connection.execute(
        update(invitations)
        .where(
            invitations.c.hash == hash, invitations.c.left > 0,
            invitations.c.expires_at.is_(None) | (invitations.c.expires_at > now),
        )
        .values(left=invitations.c.left - 1)
        .returning(invitations)
    ).mappings().first()  # fmt: skip
    if taken is None:
        known = connection.scalar(select(invitations.c.left).where(invitations.c.hash == hash))
        if known is None:
            raise NotFound("there is no such invitation; look for a slip of the hand", param="code")
        how = "is used up" if known <= 0 else "has expired"
        raise Gone(f"the invitation {how}", param="code")
    account = create_account(connection, name, taken["tier"], settings, now)
    if taken["credits"]:
        ledger.move(
            connection, account["id"], ledger.GRANT, taken["credits"], now=now, note="invitation"
        )
    key = create_key(connection, account["id"], "first key", settings, now)
    return Redeemed(account, key)


def list_invitations(connection: Connection) -> list[dict[str, Any]]:
    """Return the codes that were made, the newest first, by the start of their hashes."""
    order = (invitations.c.created_at.desc(), invitations.c.hash)
    rows = connection.execute(select(invitations).order_by(*order)).mappings()
    return [
        {k: v for k, v in row.items() if k != "hash"}
        | {"id": row["hash"][:16], "credits": row["credits"] / MICRO}
        for row in rows
    ]


def revoke_invitation(connection: Connection, id: str) -> None:
    """Let a code be used no more; `id` is the start of its hash, as the list has it.

    Raises:
        NotFound: there is none.
    """
    which = func.substr(invitations.c.hash, 1, 16) == id
    if connection.execute(update(invitations).where(which).values(left=0)).rowcount == 0:
        raise NotFound(f"there is no invitation {shown(id)}")


def _hash(code: str) -> str:
    """Return the hash of a code, however it was written down."""
    return hashed(code.strip().lower().translate(_READ_AS))


# The waiting list.


def apply(connection: Connection, contact: str, note: str, now: float) -> None:
    """Put somebody on the waiting list, once; the answer is none, known or not.

    Raises:
        Refusal: the contact is not 3 to 320 printable characters, or the note is too long.
        Unavailable: the list is full.
    """
    contact = contact.strip().casefold()
    if not 3 <= len(contact) <= 320 or not contact.isprintable():
        raise Refusal(
            f"contact {shown(contact)} is not allowed; 3 to 320 printable characters are",
            param="contact",
        )
    _check_note(note)
    waiting = applications.c.state == WAITING
    count = connection.scalar(select(func.count()).select_from(applications).where(waiting))
    if (count or 0) >= MOST_WAITING:
        raise Unavailable("the waiting list is full", retry_after=3600)
    values = dict(id=new_id("app"), contact=contact, note=note, state=WAITING, created_at=now)
    with suppress(IntegrityError), connection.begin_nested():  # the first time counts
        connection.execute(insert(applications).values(values))


def list_applications(
    connection: Connection, *, state: str | None = WAITING, limit: int = 100, offset: int = 0
) -> list[dict[str, Any]]:
    """Return applications of a state, or of any, the oldest first."""
    shows = [column for column in applications.c if column.name != "code_hash"]
    query = select(*shows).order_by(applications.c.created_at, applications.c.id)
    if state is not None:
        query = query.where(applications.c.state == state)
    return [dict(row) for row in connection.execute(query.limit(limit).offset(offset)).mappings()]


def position(connection: Connection, id: str) -> int:
    """Return how many of the waiting list come before an application, and itself: 1 is next.

    Raises:
        NotFound: there is no such application.
        Conflict: it does not wait any more.
    """
    row = _waiting(connection, id)
    place = tuple_(applications.c.created_at, applications.c.id)
    before = connection.scalar(
        select(func.count())
        .select_from(applications)
        .where(applications.c.state == WAITING, place < (row["created_at"], row["id"]))
    )
    return (before or 0) + 1


def admit(
    connection: Connection, who: int | Sequence[str], settings: Settings, now: float,
    *, tier: str = "free", credits: float | None = None, expires_at: float | None = None,
) -> list[Admitted]:  # fmt: skip
    """Admit the next `who` of the list, or those of some ids; each gets a code for one account.

    Raises:
        NotFound: one of the ids is no application.
        Conflict: one of them does not wait any more.
        Refusal: the tier is unknown, or a number is out of range.
    """
    if isinstance(who, int):
        order = (applications.c.created_at, applications.c.id)
        query = select(applications).where(applications.c.state == WAITING).order_by(*order)
        query = query.limit(max(who, 0)).with_for_update(skip_locked=True)
        rows = list(connection.execute(query).mappings())
    else:
        ids = [who] if isinstance(who, str) else dict.fromkeys(who)
        rows = [_waiting(connection, id) for id in ids]
    admitted = []
    for row in rows:
        code = create_invitation(
            connection, settings, now, tier=tier, credits=credits, expires_at=expires_at,
            note=f"for {row['contact']}",
        )  # fmt: skip
        _decide(connection, row["id"], ADMITTED, now, _hash(code))
        admitted.append(Admitted(row["id"], row["contact"], code))
    return admitted


def decline(connection: Connection, id: str, now: float) -> None:
    """Take somebody off the waiting list for good.

    Raises:
        NotFound: there is no such application.
        Conflict: it does not wait any more.
    """
    _waiting(connection, id)
    _decide(connection, id, DECLINED, now, None)


def _waiting(connection: Connection, id: str) -> RowMapping:
    query = select(applications).where(applications.c.id == id).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound(f"there is no application {shown(id)}")
    if row["state"] != WAITING:
        raise Conflict(f"application {id!r} is {row['state']} already")
    return row


def _decide(connection: Connection, id: str, state: str, now: float, code_hash: str | None) -> None:
    connection.execute(
        update(applications)
        .where(applications.c.id == id)
        .values(state=state, decided_at=now, code_hash=code_hash)
    )


def _check_note(note: str) -> None:
    if len(note) > NOTE_CHARS or "\0" in note:
        raise Refusal(
            f"note {shown(note)} of {len(note)} characters is not allowed; {NOTE_CHARS} without "
            "NUL are",
            param="note",
        )
