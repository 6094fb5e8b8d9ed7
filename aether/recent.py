"""A bounded cache whose look-ups change nothing. Compiled: see `docs/hot-path.md`."""

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """What was made of the keys used lately: of the last `most` different ones surely, of twice as many at most.

    Two dicts that take turns: a look-up moves nothing, as it does in an ordered cache.
    """

    __slots__ = ("_new", "_old", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """What was put for the key, or None."""
        found = self._new.get(key)
        if found is None and self._old:
            found = self._old.get(key)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """Keep a value; when there are too many, those that were not used since the last time go."""
        if len(self._new) >= self.most:
            self._old, self._new = self._new, {}
        self._new[key] = value
