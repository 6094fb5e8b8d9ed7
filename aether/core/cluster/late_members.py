"""Members that may only be late: for a while the ring keeps their places, so that no shard moves twice.

These are siblings that start together with us, and members whose rows ended while the server could not be reached.
Pure; one writer: the ownership.
"""

from collections.abc import Iterable

from aether.config import ClusterConfig

JUST_NOW_S = 0.5
"""How much earlier than the rest of an outage a row may have ended, beside its turn to be renewed."""


class LateMembers:
    """Which members are expected, and until when. Times are of one clock, in seconds."""

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self._expected_s: dict[str, float] = {}
        self._ended_s: dict[str, float] = {}
        self._disturbed_until_s = 0.0

    def __contains__(self, member: str) -> bool:
        return member in self._expected_s

    def expected(self, now_s: float) -> frozenset[str]:
        """The members that are expected now."""
        self._expected_s = {member: until_s for member, until_s in self._expected_s.items() if until_s > now_s}
        return frozenset(self._expected_s)

    def next_s(self) -> Iterable[float]:
        """When members cease to be expected."""
        return self._expected_s.values()

    def expect(self, members: Iterable[str], now_s: float) -> None:
        """These members are starting too: expect them for `gather_s`."""
        for member in members:
            self._expected_s[member] = now_s + self._config.gather_s

    def came(self, member: str) -> None:
        """The member has a row."""
        self._expected_s.pop(member, None)
        self._ended_s.pop(member, None)

    def ended(self, member: str, now_s: float) -> None:
        """The row of an active member has ended."""
        since_s = self._recently_s(now_s)
        self._ended_s = {name: ended_s for name, ended_s in self._ended_s.items() if ended_s >= since_s}
        self._ended_s[member] = now_s
        if now_s < self._disturbed_until_s:
            self._expected_s[member] = self._disturbed_until_s

    def disturbed(self, now_s: float) -> None:
        """The server could not be reached: a member whose row ended just now, or soon, may only not be back yet."""
        self._disturbed_until_s = now_s + self._config.regather_s
        since_s = self._recently_s(now_s)
        for member in [member for member, ended_s in self._ended_s.items() if ended_s >= since_s]:
            self._expected_s[member] = self._disturbed_until_s
        self._ended_s.clear()

    def _recently_s(self, now_s: float) -> float:
        return now_s - self._config.ttl_s / self._config.renewals_per_ttl - JUST_NOW_S
