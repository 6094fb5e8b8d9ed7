"""The asyncio shell of membership, leases and handoff: it performs what `aether.core.cluster.ownership` decides."""
