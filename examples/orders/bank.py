"""The bank that orders are paid at: the outside world, which has no part in Aether's guarantees.

It keeps its books in a SQLite file, so that all workers of a pool see one bank. Like a real payment provider it knows
an idempotency key: a charge that is sent again under its key is the same charge.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

MIGRATION = """
CREATE TABLE IF NOT EXISTS charges (key TEXT PRIMARY KEY, order_key TEXT NOT NULL, cents INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS voided (order_key TEXT PRIMARY KEY);
"""


class CardDeclined(Exception):
    """The bank does not pay."""


class Bank:
    """The bank's books in the file `path`. Every method blocks, and may be called in any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._connect()) as books:
            books.executescript(MIGRATION)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=10, isolation_level=None)

    def charge(self, key: str, order: str, card: str, cents: int) -> str:
        """Take money for an order; the number of the charge. Raises `CardDeclined`; again with one key: once."""
        if card.endswith("0000"):
            raise CardDeclined(f"the card {card} is declined")
        with closing(self._connect()) as books:
            books.execute("BEGIN IMMEDIATE")
            if books.execute("SELECT 1 FROM voided WHERE order_key = ?", (order,)).fetchone():
                books.execute("COMMIT")
                raise CardDeclined(f"the order {order} was voided")
            books.execute("INSERT OR IGNORE INTO charges VALUES (?, ?, ?)", (key, order, cents))
            books.execute("COMMIT")
        return f"charge {key}"

    def void(self, order: str) -> None:
        """Give back what was charged for an order, and take no further charge for it. Idempotent."""
        with closing(self._connect()) as books:
            books.execute("BEGIN IMMEDIATE")
            books.execute("INSERT OR IGNORE INTO voided VALUES (?)", (order,))
            books.execute("DELETE FROM charges WHERE order_key = ?", (order,))
            books.execute("COMMIT")

    def charged(self) -> dict[str, list[int]]:
        """What is charged, by order: one amount for each charge."""
        found: dict[str, list[int]] = {}
        with closing(self._connect()) as books:
            for order, cents in books.execute("SELECT order_key, cents FROM charges"):
                found.setdefault(order, []).append(cents)
        return found
