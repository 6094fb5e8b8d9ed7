"""The parcel of one order."""

from dataclasses import dataclass

from aether import Actor, command, event
from examples.orders.order import Order


@dataclass(frozen=True, slots=True)
class Packed:
    """The goods are in a parcel."""

    sku: str
    quantity: int


class Shipment(Actor):
    """The parcel of an order; the key is the order's number."""

    packed: bool = False

    @command
    def pack(self, sku: str, quantity: int) -> None:
        """Pack the goods, and tell the order."""
        if not self.packed:
            self.emit(Packed(sku, quantity))
            self.tell(Order.shipped, self.id.key, f"parcel of {self.id.key}")

    @event
    def _packed(self, e: Packed) -> None:
        self.packed = True
