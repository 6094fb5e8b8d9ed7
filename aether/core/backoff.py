"""Delays between retries: exponential, capped, with jitter that is given from outside.

The full-jitter form is Marc Brooker's, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), with a floor so
that a retry never comes at once.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before attempt `n`: between half of and the whole of `first_s * factor**n`, capped."""

    first_s: float = 0.02
    factor: float = 2.0
    cap_s: float = 1.0

    def delay_s(self, attempt: int, jitter: float) -> float:
        """Seconds before the retry after failed attempt `attempt` (from 0); `jitter` is in [0, 1)."""
        doublings = min(attempt, 32)
        full_s = min(self.cap_s, self.first_s * self.factor**doublings)
        return full_s * (0.5 + 0.5 * jitter)
