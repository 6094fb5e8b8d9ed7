"""The page of the command line, from the same declarations that `--help` shows."""

from collections.abc import Iterator

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from aether.cli.app import app
from scripts.reference.text import document, table

INTRODUCTION = """
`aether COMMAND --help` shows the same. Answers are on stdout, as JSON wherever a program may read them; an error is one
line on stderr. [Exit codes](exit-codes.md) say what happened.
"""


def page() -> str:
    """The page."""
    parts = [INTRODUCTION]
    for path, command in commands():
        parts += [f"## `{path}`", f"```text\n{_usage(path, command)}\n```", _help(command)]
        options = [one for one in command.params if isinstance(one, TyperOption)]
        arguments = [one for one in command.params if isinstance(one, TyperArgument)]
        if arguments:
            parts.append(
                table(
                    ("argument", "meaning"),
                    [(f"`{_metavar(one)}`", _said(one)) for one in arguments],
                )
            )
        if options:
            parts.append(table(("option", "value", "default", "meaning"), [_option(one) for one in options]))
    return document("Command line", *parts)


def commands() -> Iterator[tuple[str, TyperCommand]]:
    """Every command with what is typed for it."""
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    yield from _below("aether", root)


def _below(path: str, group: TyperGroup) -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _below(f"{path} {name}", command)
        else:
            assert isinstance(command, TyperCommand)
            yield f"{path} {name}", command


def examples(command: TyperCommand) -> Iterator[str]:
    """The example lines of a command's help: those that are indented."""
    for line in (command.help or "").splitlines():
        if line.startswith("  "):
            yield line.strip()


def _usage(path: str, command: TyperCommand) -> str:
    arguments = []
    for one in command.params:
        if isinstance(one, TyperArgument):
            shown = _metavar(one) if one.required else f"[{_metavar(one)}]"
            arguments.append(f"{shown}..." if one.nargs == -1 else shown)
    return " ".join([path, "[OPTIONS]", *arguments])


def _metavar(parameter: TyperOption | TyperArgument) -> str:
    return parameter.metavar or "N"  # what is declared without one is a number


def _help(command: TyperCommand) -> str:
    """The help text: indented lines are examples."""
    paragraphs = []
    for paragraph in (command.help or "").split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line != "\b"]
        if lines and all(line.startswith("  ") for line in lines):
            paragraphs.append("```text\n" + "\n".join(line[2:] for line in lines) + "\n```")
        else:
            paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs)


def _option(option: TyperOption) -> tuple[str, str, str, str]:
    flags = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f"`{_metavar(option)}`"
    shown = option.show_default is not False and option.default not in (None, False)
    return flags, value, f"`{option.default}`" if shown else "", _said(option)


def _said(parameter: TyperOption | TyperArgument) -> str:
    return " ".join(str(getattr(parameter, "help", "") or "").split())
