"""What users test their actors with."""

from aether.testing.local import local_runtime

__all__ = ["local_runtime"]
