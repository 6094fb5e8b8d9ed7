"""Fault tests with real processes: a load, seeded faults, and a checker that shares no code with the runtime."""
