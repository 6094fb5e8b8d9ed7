"""The syntax trees of functions, from the files that they were loaded from.

A file that was changed since is another one: nothing is found in it. Used while a model is built, never later.
"""

import ast
import functools
import linecache
from collections.abc import Mapping, Sequence
from types import CodeType

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def trees_of_function(code: CodeType) -> Sequence[ast.AST]:
    """The function that has this code, or the lambdas that begin in its line; nothing when the source is another."""
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename))
    try:
        if not text or code not in _codes_of_file(code.co_filename, text):
            return []
        nodes_there = _functions_of_file(code.co_filename, text).get(code.co_firstlineno, ())
    except (SyntaxError, ValueError):
        return []
    return [node for node in nodes_there if getattr(node, "name", "<lambda>") == code.co_name]


@functools.lru_cache(256)
def _functions_of_file(file: str, text: str) -> Mapping[int, Sequence[ast.AST]]:
    """The functions that begin in each line."""
    found: dict[int, list[ast.AST]] = {}
    for node in ast.walk(ast.parse(text, file)):
        if isinstance(node, FUNCTIONS):
            first = min([node.lineno, *[one.lineno for one in getattr(node, "decorator_list", ())]])
            found.setdefault(first, []).append(node)
    return found


@functools.lru_cache(256)
def _codes_of_file(file: str, text: str) -> frozenset[CodeType]:
    found, waiting = set(), [compile(text, file, "exec", dont_inherit=True)]
    while waiting:
        code = waiting.pop()
        found.add(code)
        waiting.extend(one for one in code.co_consts if isinstance(one, CodeType))
    return frozenset(found)
