"""A back-off that does not pause."""


class Pauses:
    """`Backoff` without pauses; `asked` are the attempts that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def delay_s(self, attempt: int, _jitter: float) -> float:
        self.asked.append(attempt)
        return 0.0
