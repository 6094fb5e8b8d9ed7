"""How often the kernel has killed for want of memory in the control group of this process. Stateless."""

from pathlib import Path


def kills_for_memory(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Processes of our control group that the kernel has killed for want of memory; 0 where it does not tell."""
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            count = _count(root / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            count = _count(root / "memory" / path.lstrip("/") / "memory.oom_control")
        else:
            continue
        if count is not None:
            return count
    return 0


def _count(path: Path) -> int | None:
    try:
        counts = dict(line.split() for line in path.read_text().splitlines())
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None
