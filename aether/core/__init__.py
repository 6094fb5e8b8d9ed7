"""Pure state machines: values in, values out. No asyncio, clock, randomness, logging or environment."""
