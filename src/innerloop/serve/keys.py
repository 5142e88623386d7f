"""Keys of clients: made once, shown once, and kept as hashes that take long to guess."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import Engine, insert, select, update

from innerloop.core.task import InputError
from innerloop.serve.tables import keys

#: Whose tasks they are where there are no keys.
LOCAL = "local"
_START = "il"
#: Seconds for which a key that was found right is believed, and how many of these are held.
_BELIEVED, _HELD = 30.0, 4096
#: About 10 ms and 20 MB a key; the secret has 256 random bits, so that a hash alone guards it.
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class Key(NamedTuple):
    """A key as it is listed."""

    id: str
    tenant: str
    created: datetime
    revoked: bool


class Keys:
    """The keys of a service.

    Args:
        engine: of :func:`innerloop.serve.database.opened`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._any: tuple[float, bool] = (-_BELIEVED, False)
        # What an unknown key is compared with, so that it takes as long as a known one.
        self._nobody = _hasher.hash(secrets.token_urlsafe(32))

    def make(self, tenant: str) -> str:
        """A new key of a tenant. It cannot be shown again.

        Raises:
            InputError: for a name that is none.
        """
        if not tenant.isascii() or not tenant.replace("-", "").replace("_", "").isalnum() or len(tenant) > 64:
            raise InputError(f"tenant {tenant[:80]!r}: give a name of at most 64 letters, digits, - and _")
        made, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        row = {"id": made, "tenant": tenant, "hash": _hasher.hash(secret), "created": datetime.now(UTC)}
        with self._engine.connect().execution_options(write=True) as connection, connection.begin():
            connection.execute(insert(keys).values(**row))
        return f"{_START}_{made}_{secret}"

    def listed(self) -> list[Key]:
        """All keys, without their secrets."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(keys).order_by(keys.c.created)).all()
        return [Key(row.id, row.tenant, row.created, row.revoked is not None) for row in rows]

    def revoke(self, key: str) -> None:
        """Take a key back, by its id; replicas follow within half a minute.

        Raises:
            InputError: for a key that there is not.
        """
        changed = update(keys).where(keys.c.id == key, keys.c.revoked.is_(None)).values(revoked=datetime.now(UTC))
        with self._engine.connect().execution_options(write=True) as connection, connection.begin():
            if not connection.execute(changed).rowcount:
                raise InputError(f"no key in use has the id {key[:40]!r}: innerloop serve keys --list shows them")

    def any(self) -> bool:
        """Whether there are keys, so that each request needs one; a revoked one counts: the door stays shut."""
        moment, found = self._any
        if found or time.monotonic() - moment < 1:
            return found
        with self._engine.connect() as connection:
            found = connection.execute(select(keys.c.id).limit(1)).first() is not None
        self._any = (time.monotonic(), found)
        return found

    def believed(self, token: str) -> str | None:
        """The tenant of a key that was found right a moment ago."""
        known = self._known.get(_digest(token))
        return known[1] if known is not None and time.monotonic() - known[0] < _BELIEVED else None

    def tenant(self, token: str) -> str | None:
        """The tenant of a key; ``None`` for one that there is not."""
        start, _, rest = token.partition("_")
        made, _, secret = rest.partition("_")
        row: Any = None
        if start == _START and made.isascii() and made.isalnum() and len(made) <= 32:
            with self._engine.connect() as connection:
                asked = select(keys.c.tenant, keys.c.hash).where(keys.c.id == made, keys.c.revoked.is_(None))
                row = connection.execute(asked).one_or_none()
        try:
            _hasher.verify(row.hash if row is not None else self._nobody, secret)
        except (VerifyMismatchError, InvalidHashError):
            return None
        if row is None:
            return None
        self._known[_digest(token)] = (time.monotonic(), row.tenant)
        while len(self._known) > _HELD:
            self._known.popitem(last=False)
        return str(row.tenant)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
