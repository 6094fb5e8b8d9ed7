"""The real clock, the environment, and the launcher of the embedded server."""
