"""Reads JSON documents member by member, each by name and type; whatever is wrong is refused by its path.

Agents read their settings and their durable state with it, so that they need no validation library.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn, cast

_INTEGER_MAX: Final = 2**63 - 1
_NUMBER_MAX: Final = 1e12


def read_json(text: str | bytes, error: type[ValueError]) -> Any:
    """Parse JSON.

    Raises:
        ValueError: of the given class, if it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise error(f"no JSON: {problem}") from None


class JsonObject:
    """One JSON object of a document, each member taken once by name and type.

    Args:
        value: the object.
        path: of the object in the document, with a dot behind; empty for the document itself.
        error: what is raised, a class of ValueError; the message names the path and what was expected.

    Attributes:
        path: as given.
    """

    def __init__(self, value: Any, path: str, error: type[ValueError]) -> None:
        self._error = error
        if not isinstance(value, dict):
            raise error(f"{path.rstrip('.') or 'document'}: object expected")
        self.path = path
        self._left: dict[str, Any] = dict(value)

    def names(self) -> list[str]:
        """Names of the members that are left."""
        return list(self._left)

    def object(self, name: str) -> JsonObject:
        """A member that is an object."""
        return JsonObject(self._take(name), f"{self.path}{name}.", self._error)

    def objects(self, name: str) -> list[JsonObject]:
        """A member that is a list of objects."""
        value = self._take(name)
        if not isinstance(value, list):
            self.refuse(name, "list of objects")
        return [JsonObject(each, f"{self.path}{name}[{place}].", self._error) for place, each in enumerate(value)]

    def integer(self, name: str, low: int = 0, high: int = _INTEGER_MAX) -> int:
        """A member that is an integer within limits."""
        value = self._take(name)
        if type(value) is not int or not low <= value <= high:
            self.refuse(name, f"integer from {low}" + (f" to {high}" if high != _INTEGER_MAX else ""))
        return value

    def integers(self, name: str, highs: tuple[int, ...] | None = None) -> list[int]:
        """A member that is a list of integers; with ``highs``, of just as many, each from 0 to its limit."""
        value = self._take(name)
        if not _integers(value, highs):
            self.refuse(name, _described(highs))
        return cast("list[int]", value)

    def integer_lists(self, name: str, highs: tuple[int, ...]) -> list[list[int]]:
        """A member that is a list of lists as :meth:`integers` takes them."""
        value = self._take(name)
        if not isinstance(value, list) or not all(_integers(each, highs) for each in value):
            self.refuse(name, f"list of: {_described(highs)}")
        return cast("list[list[int]]", value)

    def number(self, name: str, low: float = 0.0, high: float = _NUMBER_MAX) -> float:
        """A member that is a number within limits."""
        value = self._take(name)
        if type(value) not in (int, float) or not low <= value <= high:
            self.refuse(name, f"number from {low:g}" + (f" to {high:g}" if high != _NUMBER_MAX else ""))
        return float(value)

    def numbers(self, name: str, low: float = 0.0) -> tuple[float, ...]:
        """A member that is a list of numbers."""
        value = self._take(name)
        if not isinstance(value, list) or not all(
            type(each) in (int, float) and low <= each <= _NUMBER_MAX for each in value
        ):
            self.refuse(name, f"list of numbers from {low:g}")
        return tuple(float(each) for each in value)

    def boolean(self, name: str) -> bool:
        """A member that is true or false."""
        value = self._take(name)
        if type(value) is not bool:
            self.refuse(name, "true or false")
        return value

    def string(self, name: str) -> str:
        """A member that is a text, not empty."""
        value = self._take(name)
        if not isinstance(value, str) or not value:
            self.refuse(name, "text")
        return value

    def strings(self, name: str) -> list[str]:
        """A member that is a list of texts, none empty."""
        value = self._take(name)
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            self.refuse(name, "list of texts")
        return cast("list[str]", value)

    def key(self, name: str, numbers: set[int] | None) -> int:
        """A member's name that is the number of a switch."""
        number = int(name) if name.isascii() and name.isdigit() and len(name) < 10 else -1
        if number < 0 or (numbers is not None and number not in numbers):
            self.refuse(name, "number of a switch as name")
        return number

    def finish(self) -> None:
        """Refuse what nobody took."""
        for name in self._left:
            self.refuse(name, "nothing of that name")

    def refuse(self, name: str, expected: str) -> NoReturn:
        """Raise the error for a member."""
        raise self._error(f"{self.path}{name}: {expected} expected")

    def _take(self, name: str) -> Any:
        if name not in self._left:
            self.refuse(name, "a value")
        return self._left.pop(name)


def _integers(value: Any, highs: tuple[int, ...] | None) -> bool:
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        return False
    if highs is None:
        return True
    return len(value) == len(highs) and all(0 <= each <= high for each, high in zip(value, highs, strict=True))


def _described(highs: tuple[int, ...] | None) -> str:
    if highs is None:
        return "list of integers"
    return f"{len(highs)} integers from 0, at most {', '.join(map(str, highs))}"
