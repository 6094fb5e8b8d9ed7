"""How long a server that was replaced as the leader of a replicated stream may answer from its old state. Stateless."""

STALE_LEADER_S = 25.0
"""After this time it has noticed that it has no quorum: every 10 s it looks whether it has heard from none for 10 s
(nats-server 2.15, `lostQuorumInterval`)."""


def stale_s(replicas: int) -> float:
    """For how many seconds the answer of a stream's leader may be one of a leader that was replaced before."""
    return STALE_LEADER_S if replicas > 1 else 0.0
