"""Benchmarks: each beside a hand-written floor in the same run, each checking its own result."""
