"""The transfers model for workers that relay what the inbox has lost again after a second."""

from aether.runtime import relaying
from tests.support.transfers import Till, model

__all__ = ["Till", "model"]

relaying.SETTLE_S = 1.0
