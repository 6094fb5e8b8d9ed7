"""Whether something that may be a passing error has been observed for so long that it is none. Pure."""


class Sustained:
    """True of what is observed again and again for `after_s` seconds, with nothing to the contrary in between.

    With 0 it is true at once.
    """

    __slots__ = ("_after_s", "_since_s")

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._since_s: float | None = None

    def observed(self, now_s: float) -> bool:
        """It is observed now; whether it has been for long enough."""
        if self._since_s is None:
            self._since_s = now_s
        return now_s - self._since_s >= self._after_s

    def over(self) -> None:
        """The contrary is observed."""
        self._since_s = None
