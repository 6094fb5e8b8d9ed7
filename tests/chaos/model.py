"""The model that the load runs: a ledger that says, with every answer, what it believes its whole history to be.

Whether an append is refused depends on the state, so a refusal tells the state too.
"""

from dataclasses import dataclass
from zlib import crc32

from aether import Actor, Model, Rejected, command, event, query


@dataclass(frozen=True, slots=True)
class Appended:
    """Client `client` appended its number `number` to this ledger."""

    client: str
    number: int
    amount: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The ledger after a command: how many events, their sum, and a digest of all of them in their order."""

    version: int
    total: int
    digest: int


class Ledger(Actor):
    """Records who appended what."""

    total: int = 0
    digest: int = 0

    @command
    def append(self, client: str, number: int, amount: int) -> Receipt:
        """Append; less than nothing is taken from the ledger, if it has as much. Nothing emits nothing."""
        if self.total + amount < 0:
            raise Rejected("the ledger has less", version=self.version, total=self.total, digest=self.digest)
        if amount != 0:
            self.emit(Appended(client, number, amount))
        return Receipt(self.version, self.total, self.digest)

    @query
    def read(self) -> Receipt:
        """What it is now."""
        return Receipt(self.version, self.total, self.digest)

    @event
    def appended(self, e: Appended) -> None:
        """Add it up."""
        self.total += e.amount
        self.digest = crc32(f"{self.digest}/{e.client}/{e.number}/{e.amount}".encode())


model = Model("chaos", actors=[Ledger])
