"""The installation's secret, and what is encrypted with it: secrets that must be read again.

What only has to be recognised is stored as a hash and not here. A sealed text is bound to what it
belongs to: moved to another row of the database, it does not open.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, select, update

from kineograph.errors import KineographError, RequestError
from kineograph.serve.ids import random_text
from kineograph.serve.settings import Settings
from kineograph.serve.tables import endpoints, keys

LEAST = 16  # characters of a secret
_MADE = 52  # characters of one that is made here: 260 bits
_VERSION = b"\x01"  # the first byte of what is sealed: AES-256-GCM, a nonce, then the text
_NONCE = 12  # bytes


class SealBroken(KineographError):
    """A sealed text does not open: it was changed, or sealed with another secret."""


def load_secret(settings: Settings) -> bytes:
    """Return the installation's secret: the setting, or DATA/secret, which is made once.

    The file is readable by its owner alone. Processes that start at once end with the same one,
    and a crash leaves a whole file or none.

    Raises:
        RequestError: the secret is too short, or the file cannot be made or read.
    """
    if settings.secret:
        return _checked(settings.secret, "the setting secret")
    path = Path(settings.data) / "secret"
    try:
        if not path.exists():
            _make(path)
        return _checked(path.read_text(encoding="ascii").strip(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise RequestError(
            f"{path} cannot be made or read: {why}; set `secret`, or mend the folder"
        ) from None


def load_secrets(settings: Settings) -> list[bytes]:
    """Return the installation's secret and, where one is named, that before it; raises as above."""
    found = [load_secret(settings)]
    if settings.secret_before:
        found.append(_checked(settings.secret_before, "the setting secret_before"))
    return found


def reseal(connection: Connection, settings: Settings) -> int:
    """Seal with the installation's secret what that before it has sealed; return how much.

    What neither opens stays as it is, to be told of where it is needed.
    """
    secrets, count = load_secrets(settings), 0
    if len(secrets) == 1:
        return 0
    for table, name in ((keys, "key"), (endpoints, "endpoint")):
        columns = [c for c in table.c if c.name in ("sealed", "sealed_before")]
        for row in connection.execute(select(table.c.id, *columns).with_for_update()).mappings():
            changes = {}
            for column in columns:
                sealed, belongs_to = row[column.name], f"{name} {row['id']}"
                with suppress(SealBroken):
                    if sealed is not None and not _opens(secrets[0], sealed, belongs_to):
                        text = unseal(secrets[1], sealed, belongs_to)
                        changes[column.name] = seal(secrets[0], text, belongs_to)
            if changes:
                connection.execute(update(table).where(table.c.id == row["id"]).values(changes))
                count += len(changes)
    return count


def _opens(secret: bytes, sealed: bytes, belongs_to: str) -> bool:
    try:
        unseal(secret, sealed, belongs_to)
    except SealBroken:
        return False
    return True


def _checked(secret: str, where: str) -> bytes:
    if len(secret) < LEAST:
        raise RequestError(f"{where} has {len(secret)} characters; {LEAST} or more are allowed")
    return secret.encode()


def _make(path: Path) -> None:
    """Write a new secret beside its place and link it there: the first one there stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"secret.{random_text(12)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(random_text(_MADE) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()


def derive(secret: bytes, purpose: str, length: int = 32) -> bytes:
    """Return `length` bytes that follow from the secret, others for each purpose (RFC 5869)."""
    return HKDF(SHA256(), length, salt=None, info=f"kineograph {purpose}".encode()).derive(secret)


def seal(secret: bytes, text: str, belongs_to: str) -> bytes:
    """Encrypt a text; it opens only with the same secret and the same `belongs_to`."""
    nonce = os.urandom(_NONCE)
    cipher = AESGCM(derive(secret, "sealing"))
    return _VERSION + nonce + cipher.encrypt(nonce, text.encode(), belongs_to.encode())


def unseal(secret: bytes, sealed: bytes, belongs_to: str) -> str:
    """Return the text that was sealed.

    Raises:
        SealBroken: it was changed, belongs elsewhere, or was sealed with another secret.
    """
    nonce, rest = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
    try:
        if sealed[:1] != _VERSION or len(nonce) < _NONCE:
            raise InvalidTag
        text = AESGCM(derive(secret, "sealing")).decrypt(nonce, rest, belongs_to.encode())
    except InvalidTag:
        raise SealBroken(
            f"what is sealed for {belongs_to!r} does not open: it was changed, or sealed with "
            "another secret; all machines of a service need the same `secret`"
        ) from None
    return text.decode()
