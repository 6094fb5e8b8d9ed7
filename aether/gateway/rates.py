"""How many requests each caller may send: a bucket of tokens for each, of which a bounded number is remembered.

Pure: the time comes in. A caller is the name of its bearer token, else its address, of which IPv6 counts by /64: one
host has that many. A bucket is one number, the time at which it is full again (the generic cell rate algorithm).
"""

import ipaddress
import math
from collections import OrderedDict

from starlette.types import Scope


class Rates:
    """`rate_per_s` requests a second for each caller, and `burst` at once; infinity is no limit.

    At `callers_max` callers the one that was idle for longest is forgotten, which gives it a full bucket.
    """

    def __init__(self, rate_per_s: float, burst: int, callers_max: int) -> None:
        self.limited = math.isfinite(rate_per_s)
        self._interval_s = 1.0 / rate_per_s if self.limited else 0.0
        self._tolerance_s = self._interval_s * (burst - 1)
        self._callers_max = callers_max
        self._full_at_s: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at_s)

    def wait_s(self, caller: str, now_s: float) -> float:
        """Take one request of a caller: 0, or how long it has to wait, and then nothing is taken."""
        full_at_s = max(self._full_at_s.get(caller, now_s), now_s)
        early_s = full_at_s - now_s - self._tolerance_s
        if early_s > 1e-9:
            return early_s
        self._full_at_s[caller] = full_at_s + self._interval_s
        self._full_at_s.move_to_end(caller)
        if len(self._full_at_s) > self._callers_max:
            self._full_at_s.popitem(last=False)
        return 0.0


def address_of_caller(scope: Scope) -> str:
    """The address that a request came from, as callers are told apart by it."""
    client = scope.get("client")
    host = str(client[0]) if client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
