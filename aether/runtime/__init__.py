"""The asyncio shell of one worker: virtual machines, their registry, and the runtime around them."""
