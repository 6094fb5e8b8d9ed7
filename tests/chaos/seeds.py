"""The file of seeds that failed."""

from pathlib import Path
from typing import NamedTuple

SEEDS_FILE = Path(__file__).with_name("seeds.txt")


class Seed(NamedTuple):
    """A scenario to run again: its seed, how many faults it has, whether it is of a cluster, and of the bank."""

    number: int
    faults: int
    cluster: bool
    bank: bool = False

    def __str__(self) -> str:
        return f"{self.number} {self.faults}{' cluster' * self.cluster}{' bank' * self.bank}"


def kept_seeds(path: Path = SEEDS_FILE) -> list[Seed]:
    """The seeds of the file."""
    lines = (line.partition("#")[0].split() for line in path.read_text().splitlines())
    return [Seed(int(words[0]), int(words[1]), "cluster" in words[2:], "bank" in words[2:]) for words in lines if words]


def keep_seed(seed: Seed, remark: str, path: Path = SEEDS_FILE) -> None:
    """Add a seed to the file, unless it is there."""
    if seed not in kept_seeds(path):
        with path.open("a") as file:
            file.write(f"{seed}  # {remark}\n")
