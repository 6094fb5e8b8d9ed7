"""Saving a source file."""

from pathlib import Path


def put(directory: Path, name: str, text: str) -> None:
    """Save a file as editors do: at once, by another file that takes its place."""
    new = directory / f".{name}.new"
    new.write_text(text)
    new.replace(directory / name)
