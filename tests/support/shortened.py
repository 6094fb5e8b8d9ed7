"""The transfers model for workers that shorten the inbox all the time, down to the last few tells."""

from tests.support.shortening import shorten_all_the_time
from tests.support.transfers import Till, model

__all__ = ["Till", "model"]

shorten_all_the_time()
