"""Changes functions of the agents in a running process, for as long as a mutant lives there.

A change is said in the function's own words, so that the mutant reads as a difference. The words must be there, once:
a mutant that no longer fits the logic says so instead of passing for a killed or a surviving one. The code object is
exchanged, not the name: whoever has imported the function runs the changed one too. No file is touched.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import re
import textwrap
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import CodeType, FunctionType


class ChangeError(ValueError):
    """A change that cannot be made: names the function and says what does not fit."""


class Change(NamedTuple):
    """Words of one function to be replaced.

    Attributes:
        function: ``module:function`` or ``module:Class.method``; a property's getter counts as a method.
        old: words of its source that occur exactly once; a space stands for any white space.
        new: what stands there instead.
    """

    function: str
    old: str
    new: str


@contextmanager
def made(changes: Sequence[Change]) -> Iterator[None]:
    """Make changes in this process, and take them back at the end.

    Raises:
        ChangeError: a function is not there, or not as the change expects it.
    """
    sources: dict[FunctionType, str] = {}
    for change in changes:
        function = _function(change.function)
        source = sources.get(function) or textwrap.dedent(inspect.getsource(function))
        sources[function] = _replaced(source, change)
    changed = [(function, function.__code__, _compiled(function, source)) for function, source in sources.items()]
    for function, _, code in changed:
        function.__code__ = code
    try:
        yield
    finally:
        for function, code, _ in changed:
            function.__code__ = code


def _function(name: str) -> FunctionType:
    module, _, path = name.partition(":")
    found: Any = import_module(module)
    try:
        for part in path.split("."):
            found = inspect.getattr_static(found, part)
    except AttributeError as error:
        raise ChangeError(f"{name}: {error}") from error
    found = inspect.unwrap(getattr(found, "fget", getattr(found, "__func__", found)))
    if not inspect.isfunction(found):
        raise ChangeError(f"{name}: not a function of Python code")
    return found


def _replaced(source: str, change: Change) -> str:
    words = r"\s+".join(re.escape(word) for word in change.old.split())
    places = list(re.finditer(words, source))
    if len(places) != 1:
        raise ChangeError(f"{change.function}: {change.old!r} expected once, found {len(places)} times")
    start, end = places[0].span()
    return source[:start] + change.new + source[end:]


def _compiled(function: FunctionType, source: str) -> CodeType:
    """The code of a changed function, with the names of its module."""
    tree = ast.parse(source)
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    name = function.__code__.co_filename
    made_here: dict[str, Any] = {}
    flags = __future__.annotations.compiler_flag
    exec(compile(tree, name, "exec", flags, dont_inherit=True), function.__globals__, made_here)  # noqa: S102 - our own
    code: CodeType = made_here[definition.name].__code__
    if code.co_freevars:
        raise ChangeError(f"{function.__qualname__}: it uses names of an enclosing function")
    return code
