"""A load of transfers, schedules and tasks, and what holds it against the histories and a server outside."""
