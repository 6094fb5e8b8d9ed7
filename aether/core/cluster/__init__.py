"""Pure state machines of a member of the cluster: table rows, session, ring, leases, handoff."""
