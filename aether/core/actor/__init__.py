"""Pure state machines of one actor and its commands: lifecycle, commits, remembered commands, retries of a call."""
