"""Power cuts, simulated: what a disk may hold of a traced run at any instant, and what a fresh pool makes of it."""
