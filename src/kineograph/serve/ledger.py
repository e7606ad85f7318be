"""Credits: an append-only ledger, and each account's balance beside it, moved in one transaction.

A submission reserves its price, its completion settles it, and anything else gives it back: the
sums of the ledger are the balances, always.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select, update

from kineograph.serve.database import total
from kineograph.serve.refusals import NoCredits, NotFound
from kineograph.serve.settings import MICRO
from kineograph.serve.tables import accounts, ledger

GRANT, RESERVE, SETTLE, REFUND = "grant", "reserve", "settle", "refund"


def move(
    connection: Connection,
    account_id: str,
    kind: str,
    amount: int,
    *,
    now: float,
    video_id: str | None = None,
    note: str = "",
) -> int:
    """Change a balance by some micro-credits and write it down; return the balance.

    Raises:
        NoCredits: the balance would fall below nothing.
        NotFound: there is no such account.
    """
    changed = connection.execute(
        update(accounts)
        .where(accounts.c.id == account_id, accounts.c.balance + amount >= 0)
        .values(balance=accounts.c.balance + amount)
        .returning(accounts.c.balance)
    ).first()
    if changed is None:
        balance = connection.scalar(select(accounts.c.balance).where(accounts.c.id == account_id))
        if balance is None:
            raise NotFound(f"there is no account {account_id!r}")
        raise NoCredits(
            f"this costs {-amount / MICRO:.2f} credits and the account has {balance / MICRO:.2f}"
        )
    connection.execute(
        insert(ledger).values(
            account_id=account_id, video_id=video_id, kind=kind, amount=amount,
            balance=changed.balance, note=note, created_at=now,
        )
    )  # fmt: skip
    return int(changed.balance)


def grant(
    connection: Connection, account_id: str, credits: float, *, now: float, note: str = ""
) -> int:
    """Give an account credits, or take some where the number is below 0."""
    return move(connection, account_id, GRANT, round(credits * MICRO), now=now, note=note)


def settle(
    connection: Connection, account_id: str, video_id: str, reserved: int, charged: int, now: float
) -> None:
    """Charge a finished video: what was reserved beyond its price comes back."""
    if reserved == 0:
        return
    move(
        connection, account_id, SETTLE, reserved - charged, now=now, video_id=video_id,
        note=f"charged {charged / MICRO:.6f} of {reserved / MICRO:.6f} reserved",
    )  # fmt: skip


def refund(
    connection: Connection, account_id: str, video_id: str, reserved: int, now: float, why: str
) -> None:
    """Give back what was reserved for a video that was not made."""
    if reserved:
        move(connection, account_id, REFUND, reserved, now=now, video_id=video_id, note=why)


def entries(
    connection: Connection, account_id: str, *, limit: int = 100
) -> list[dict[str, object]]:
    """Return the newest entries of an account, the newest first."""
    rows = connection.execute(
        select(ledger).where(ledger.c.account_id == account_id).order_by(ledger.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    return [dict(row) for row in rows.mappings()]


def audit(connection: Connection) -> list[str]:
    """Return a line for each account whose balance is not the sum of its entries."""
    sums = (
        select(ledger.c.account_id, total(ledger.c.amount).label("total"))
        .group_by(ledger.c.account_id)
        .subquery()
    )
    rows = connection.execute(
        select(accounts.c.id, accounts.c.balance, func.coalesce(sums.c.total, 0).label("total"))
        .outerjoin(sums, sums.c.account_id == accounts.c.id)
        .where(accounts.c.balance != func.coalesce(sums.c.total, 0))
    )
    return [f"{row.id}: balance {row.balance}, entries sum up to {row.total}" for row in rows]
