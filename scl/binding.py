"""From XML elements to typed ones: a dataclass says which attributes and children it has, ``bind`` fills it.

A field is an attribute of the same name, unless it is a ``Node`` or a tuple of them, then it is a child
element named like that class, or unless it was made by ``text()``, then it is the element's character data. A
field without default is required. What a class does not mention stays in ``Node.element`` and is written
again.
"""

from __future__ import annotations

import re
import types
import typing
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

from scl.document import Element, SclError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator


_TEXT: Final = "text"
MAX_PROBLEMS: Final = 1_000
"""Most located errors kept of one file."""

GIVEN: Final = {"given": True}
"""Metadata of a field that does not come from the element: ``bind`` is told its value."""


def text(default: Any = MISSING) -> Any:
    """A field that holds the element's character data."""
    return field(metadata={_TEXT: True}) if default is MISSING else field(default=default, metadata={_TEXT: True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What every typed element has: the XML element it was made from, with its line and path."""

    element: Element = field(compare=False, repr=False, metadata=GIVEN)

    @property
    def line(self) -> int:
        """Line the element starts in."""
        return self.element.line

    @property
    def path(self) -> str:
        """Path of the element from the root."""
        return self.element.path

    @classmethod
    def known_children(cls) -> Container[str]:
        """Tags of the elements that may stand inside."""
        return _plan(cls).children

    @classmethod
    def known_attributes(cls) -> frozenset[str]:
        """Names of the attributes that the element may have."""
        return _plan(cls).names

    def typed_children(self) -> Iterator[Node]:
        """The typed elements inside this one, kind by kind."""
        for child in _plan(type(self)).children.values():
            value = getattr(self, child.name)
            if child.many:
                yield from value
            elif value is not None:
                yield value

    def walk(self) -> Iterator[Node]:
        """This element and all typed elements below it, parents first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.typed_children())


@dataclass(frozen=True, slots=True, kw_only=True)
class Private(Node):
    """Data of a tool or another standard; its content is in ``element``."""

    type: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Node):
    """Free text."""

    value: str = text("")
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described(Node):
    """An element with a description, a text and private data, as nearly all have them."""

    desc: str = ""
    note: Text | None = None
    privates: tuple[Private, ...] = ()


N = TypeVar("N", bound=Node)


_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_DECIMAL: Final = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?", re.ASCII)
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


def integer(value: str) -> int:
    """An XML Schema integer; ValueError says what was expected."""
    value = value.strip()
    if not _INTEGER.fullmatch(value):
        raise ValueError(f"expected a whole number, found {_short(value)}")
    return int(value)


def decimal(value: str) -> float:
    """An XML Schema decimal or double, finite; ValueError says what was expected."""
    value = value.strip()
    if not _DECIMAL.fullmatch(value):
        raise ValueError(f"expected a number, found {_short(value)}")
    return float(value)


def boolean(value: str) -> bool:
    """An XML Schema boolean; ValueError says what was expected."""
    try:
        return _BOOLEANS[value.strip()]
    except KeyError:
        raise ValueError(f"expected true or false, found {_short(value)}") from None


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:40] + "...")


_CONVERTERS: Final[dict[type, tuple[Callable[[str], Any], Any]]] = {
    str: (str, ""),
    int: (integer, 0),
    float: (decimal, 0.0),
    bool: (boolean, False),
}


class Problems:
    """Located errors, as they are found; a file that is wrong all over gives the first ``MAX_PROBLEMS``."""

    def __init__(self) -> None:
        self.found: list[SclError] = []

    def add(self, rule: str, message: str, element: Element) -> None:
        """Keep an error located at an element."""
        if len(self.found) < MAX_PROBLEMS:
            self.found.append(SclError(message, line=element.line, path=element.path, rule=rule))


@dataclass(frozen=True, slots=True)
class _Attribute:
    name: str
    convert: Callable[[str], Any]
    substitute: Any  # stands for a value that is missing or wrong, so that reading goes on
    required: bool


@dataclass(frozen=True, slots=True)
class _Child:
    name: str
    cls: type[Node]
    many: bool
    required: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    attributes: tuple[_Attribute, ...]
    names: frozenset[str]
    text: _Attribute | None
    children: dict[str, _Child]  # by tag


_plans: dict[type[Node], _Plan] = {}


def _plan(cls: type[Node]) -> _Plan:
    plan = _plans.get(cls)
    if plan is None:
        plan = _plans[cls] = _make_plan(cls)
    return plan


def _make_plan(cls: type[Node]) -> _Plan:
    hints = typing.get_type_hints(cls)
    attributes = []
    content = None
    children: dict[str, _Child] = {}
    for item in fields(cls):
        if "given" in item.metadata:
            continue
        hint = hints[item.name]
        required = item.default is MISSING
        arguments = [arg for arg in typing.get_args(hint) if arg is not types.NoneType and arg is not ...]
        kind = arguments[0] if arguments else hint
        if issubclass(kind, Node):
            children[kind.__name__] = _Child(item.name, kind, typing.get_origin(hint) is tuple, required)
            continue
        convert, zero = _CONVERTERS[kind]
        entry = _Attribute(item.name, convert, zero if required else item.default, required)
        if item.metadata.get(_TEXT):
            content = entry
        else:
            attributes.append(entry)
    return _Plan(tuple(attributes), frozenset(each.name for each in attributes), content, children)


def bind(cls: type[N], element: Element, problems: Problems, **values: Any) -> N:
    """Make the typed element of an XML element and of all below it.

    Args:
        cls: what the element is.
        element: where it comes from; children are looked up in the same name space.
        problems: takes one located error for each value that is missing or wrong; the typed element then
            holds the default or the zero of its type, so that one run finds all of them.
        values: values of fields marked ``GIVEN``.
    """
    plan = _plan(cls)
    values["element"] = element
    attributes = element.attributes
    for entry in plan.attributes:
        raw = attributes.get(entry.name)
        if raw is not None:
            values[entry.name] = _convert(entry, raw, element, problems)
        elif entry.required:
            problems.add("attribute-missing", f"{element.tag} without the attribute {entry.name}", element)
            values[entry.name] = entry.substitute
    if plan.text is not None:
        raw = "".join([element.text, *(child.tail for child in element.children)])
        if raw.strip() or plan.text.required:
            values[plan.text.name] = _convert(plan.text, raw, element, problems)
    if plan.children:
        namespace = element.namespace
        many: dict[str, list[Node]] = {}
        for child in element.children:
            target = plan.children.get(child.local)
            if target is None or child.namespace != namespace:
                continue
            if target.many:
                many.setdefault(target.name, []).append(bind(target.cls, child, problems))
            elif target.name in values:
                problems.add("element-second", f"second {child.tag}; {element.tag} has at most one", child)
            else:
                values[target.name] = bind(target.cls, child, problems)
        for name, nodes in many.items():
            values[name] = tuple(nodes)
        for tag, target in plan.children.items():
            if target.required and target.name not in values:
                problems.add("element-missing", f"{element.tag} without {tag}", element)
                values[target.name] = bind(target.cls, _absent(tag, element), Problems())
    return cls(**values)


def _absent(tag: str, parent: Element) -> Element:
    """An empty stand-in for a required child that is missing."""
    return Element(tag, tag, parent.namespace, {}, parent.line, parent)


def _convert(entry: _Attribute, raw: str, element: Element, problems: Problems) -> Any:
    try:
        return entry.convert(raw)
    except ValueError as error:
        place = f"{element.tag}@{entry.name}" if entry.name in element.attributes else element.tag
        problems.add("value", f"{place}: {error}", element)
        return entry.substitute
