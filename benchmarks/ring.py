"""How many shards move when a member joins or leaves, and how long a process takes to find out.

    python -m benchmarks.ring --shards 256 --sets 100

Means over so many sets of names, as tables in Markdown. Nothing but the times differs from run to run.
"""

import argparse
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, median

from aether.core.cluster.ring import Weights, assignment, load_max, owners, weights_of
from benchmarks import ring_others

MEMBERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 63, 64)
RINGS: dict[str, tuple[Callable[[Weights], dict[int, str]], Callable[[str, int], Sequence[int]]]] = {
    "as it is": (ring_others.as_it_is, weights_of),
    "hashes, not ranks": (ring_others.as_it_is, ring_others.plain_hashes),
    "stable matching": (ring_others.matching, weights_of),
    "one pass": (ring_others.one_pass, weights_of),
    "in turns": (ring_others.in_turns, weights_of),
    "no bound, hashes": (ring_others.unbounded, ring_others.plain_hashes),
}


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=256)
    parser.add_argument("--sets", type=int, default=100, help="sets of names")
    options = parser.parse_args()
    joins(options.shards, options.sets)
    leaves(options.shards, options.sets)
    others(options.shards, options.sets)
    times()


def joins(shards: int, sets: int) -> None:
    """What one more member moves."""
    _header(
        "a join",
        ["members", "`load_max`", "load", "must move", "fair share", "to the joiner", "otherwise", "worst", "proven"],
    )
    for members in MEMBERS:
        rows = []
        for names in name_sets(members + 1, sets):
            before, after = _owners(names[:-1], shards), _owners(names, shards)
            loads = _loads(before, names[:-1])
            must = sum(max(0, load - load_max(shards, members + 1)) for load in loads)
            rows.append((min(loads), max(loads), must, *moved(before, after, names[-1])))
        low, high, must_mean, joiner, otherwise = map(fmean, zip(*rows, strict=True))
        _row(
            f"{members} to {members + 1}",
            f"{load_max(shards, members)} to {load_max(shards, members + 1)}",
            f"{low:.1f} to {high:.1f}",
            must_mean,
            shards / (members + 1),
            joiner,
            otherwise,
            max(row[-1] for row in rows),
            overflow_expected_max(shards, members) + overflow_expected_max(shards, members + 1),
        )


def leaves(shards: int, sets: int) -> None:
    """What one member less moves; the leaver is any member, each in its turn."""
    _header("a leave", ["members", "must move: from the leaver", "otherwise", "worst", "proven"])
    for members in MEMBERS[1:]:
        rows = []
        for number, names in enumerate(name_sets(members, sets)):
            leaver = names[number % members]
            stay = [name for name in names if name != leaver]
            rows.append(moved(_owners(names, shards), _owners(stay, shards), leaver))
        proven = overflow_expected_max(shards, members) + overflow_expected_max(shards, members - 1)
        leaver_mean, otherwise = map(fmean, zip(*rows, strict=True))
        _row(f"{members} to {members - 1}", leaver_mean, otherwise, max(row[-1] for row in rows), proven)


def others(shards: int, sets: int) -> None:
    """What a join moves otherwise, and the least and the greatest load, under other constructions."""
    _header("otherwise at a join (least, greatest load), by construction", ["members", *RINGS])
    for members in MEMBERS:
        cells = []
        for ring, weigh in RINGS.values():
            rows = []
            for names in name_sets(members + 1, sets):
                weights = {name: weigh(name, shards) for name in names}
                before, after = ring({name: weights[name] for name in names[:-1]}), ring(weights)
                loads = _loads(before, names[:-1])
                rows.append((moved(before, after, names[-1])[1], min(loads), max(loads)))
            otherwise, low, high = map(fmean, zip(*rows, strict=True))
            cells.append(f"{otherwise:.1f} ({low:.1f}, {high:.1f})")
        _row(f"{members} to {members + 1}", *cells)


def times() -> None:
    """Milliseconds for one assignment, with nothing remembered and with every member's weights remembered."""
    _header("milliseconds for one assignment", ["shards", "members", "cold", "warm"])
    for shards, members in ((256, 8), (256, 64), (65_536, 8), (65_536, 64)):
        names = next(name_sets(members, 1))
        cold, warm = [], []
        for _ in range(15 if shards == 256 else 3):
            weights_of.cache_clear()
            cold.append(_ms(names, shards))
            warm.append(_ms(names, shards))
        _row(shards, members, f"{median(cold):.2f}", f"{median(warm):.2f}")


def overflow_expected_max(shards: int, members: int) -> float:
    """The proven bound of the expected overflow; docs/ring.md derives it."""
    edges = [(edge / shards) ** members for edge in range(shards + 1)]
    wins = (shards / members * (upper - lower) for lower, upper in itertools.pairwise(edges))
    variance = shards / members - math.fsum(win * win for win in wins)
    slack = load_max(shards, members) - shards / members
    return members * (math.sqrt(variance + slack * slack) - slack) / 2


def moved(before: dict[int, str], after: dict[int, str], changed: str) -> tuple[int, int]:
    """How many shards moved to the joiner or from the leaver, and how many otherwise."""
    moves = [{before[shard], after[shard]} for shard in before if before[shard] != after[shard]]
    theirs = sum(changed in move for move in moves)
    return theirs, len(moves) - theirs


def name_sets(members: int, sets: int) -> Iterator[list[str]]:
    """Names as a pool of machines with four workers each has them."""
    return ([f"host{number}x{name // 4}-{name % 4}" for name in range(members)] for number in range(sets))


def _owners(names: list[str], shards: int) -> dict[int, str]:
    return owners(assignment(names, shards))


def _loads(owner: dict[int, str], names: list[str]) -> list[int]:
    count = Counter(owner.values())
    return [count[name] for name in names]


def _ms(names: list[str], shards: int) -> float:
    began_s = time.perf_counter()
    assignment(names, shards)
    return (time.perf_counter() - began_s) * 1_000


def _header(title: str, columns: list[str]) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def _row(*cells: object) -> None:
    print(f"| {' | '.join(f'{cell:.1f}' if isinstance(cell, float) else str(cell) for cell in cells)} |")


if __name__ == "__main__":
    main()
