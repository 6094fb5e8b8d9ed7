"""A durability that the test moves on."""

from collections.abc import Callable

from aether.ids import Position


class Durable:
    """Nothing is durable but what the test says."""

    def __init__(self) -> None:
        self.position = Position(0)
        self._waiting: list[tuple[Position, Callable[[str], None]]] = []

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def after_write(self, position: Position, done: Callable[[str], None]) -> None:
        self.after_notice(position, done)

    def after_read(self, position: Position, done: Callable[[str], None]) -> None:
        self.after_notice(position, done)

    def after_question(self, position: Position, done: Callable[[str], None]) -> None:
        self.after_notice(position, done)

    def forget(self) -> None:
        self.position = Position(0)

    def after_notice(self, position: Position, done: Callable[[str], None]) -> None:
        if position <= self.position:
            done("")
        else:
            self._waiting.append((position, done))

    def reach(self, position: int, why_not: str = "") -> None:
        """All up to here is durable, or will not be known."""
        self.position = self.position if why_not else Position(position)
        waiting, self._waiting = self._waiting, []
        for wanted, done in waiting:
            if why_not or wanted <= self.position:
                done(why_not)
            else:
                self._waiting.append((wanted, done))
