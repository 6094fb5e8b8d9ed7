"""The supervisor: forks, watches, restarts and drains worker processes. It knows processes, not actors."""
