"""What there must be for a fault to strike."""

from enum import Enum


class Needs(Enum):
    """What a fault cannot strike without."""

    CLUSTER = "three servers"
    SINGLE = "one server"
    PROXY = "a host behind a proxy"
    BANK = "a load that tells"
