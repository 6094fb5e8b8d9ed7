"""The launcher of a checkout, not installed by the wheel: a user's project may have a package of this name."""
