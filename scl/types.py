"""Types of data: from a reference such as ``XCBR1.Pos.stVal`` to its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scl.templates import BDA, DA, SDO, DataTypeTemplates, DOType, EnumType, LNodeType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


MAX_PARTS: Final = 10_000
"""Most attributes and structures that one reference may stand for. Types can multiply like entities."""
MAX_COUNT: Final = 100_000
"""Largest array."""
_MAX_DEPTH: Final = 30

STRUCTURE: Final = "Struct"
ENUMERATION: Final = "Enum"


@dataclass(frozen=True, slots=True)
class TypedAttribute:
    """A data attribute, or a data object seen through one functional constraint, with its type resolved.

    Attributes:
        name: last part of its reference.
        bType: basic type as in SCL (``BOOLEAN``, ``INT32``, ``Dbpos``, ``Quality``, ``Timestamp``,
        ``FLOAT32``, ...),
            ``Enum`` or ``Struct``.
        fc: functional constraint.
        literals: of an enumeration, ordinal and literal.
        count: size of an array, 0 for no array.
        attributes: of a structure (or of each element of an array of structures), in wire order.
        default: value given by the type, as written; None where it gives none.
    """

    name: str
    bType: str
    fc: str
    literals: tuple[tuple[int, str], ...] = ()
    count: int = 0
    attributes: tuple[TypedAttribute, ...] = ()
    default: str | None = None

    def leaves(self) -> int:
        """Number of basic values it stands for, elements of arrays counted one by one."""
        inner = sum(attribute.leaves() for attribute in self.attributes) if self.attributes else 1
        return inner * (self.count or 1)


class TypeResolutionError(ValueError):
    """A reference that the type templates do not know; says which part of it.

    Attributes:
        in_types: the reference is well, but the types that it leads to are not.
    """

    def __init__(self, message: str, *, in_types: bool = False) -> None:
        super().__init__(message)
        self.in_types = in_types


class Types:
    """The type templates of a file, by name. Of two with one name the first counts."""

    def __init__(self, templates: DataTypeTemplates | None) -> None:
        self._lnode_types: dict[str, LNodeType] = {}
        self._do_types: dict[str, DOType] = {}
        self._da_types: dict[str, tuple[BDA, ...]] = {}
        self._enum_types: dict[str, EnumType] = {}
        for lnode_type in templates.lnode_types if templates else ():
            self._lnode_types.setdefault(lnode_type.id, lnode_type)
        for do_type in templates.do_types if templates else ():
            self._do_types.setdefault(do_type.id, do_type)
        for da_type in templates.da_types if templates else ():
            self._da_types.setdefault(da_type.id, da_type.bda)
        for enum_type in templates.enum_types if templates else ():
            self._enum_types.setdefault(enum_type.id, enum_type)
        self._known: dict[tuple[str, str, str, str, bool], TypedAttribute | TypeResolutionError] = {}

    def lnode_type(self, name: str) -> LNodeType | None:
        """The logical node type of that name, None where there is none."""
        return self._lnode_types.get(name)

    def do_type(self, name: str) -> DOType | None:
        """The data object type of that name, None where there is none."""
        return self._do_types.get(name)

    def da_type(self, name: str) -> tuple[BDA, ...] | None:
        """The components of the structure type of that name, None where there is none."""
        return self._da_types.get(name)

    def enum_type(self, name: str) -> EnumType | None:
        """The enumeration of that name, None where there is none."""
        return self._enum_types.get(name)

    def resolve(
        self, lnType: str, doName: str, daName: str = "", fc: str = "", *, indexed: bool = False
    ) -> TypedAttribute:
        """Type of an attribute, or of a whole data object under a functional constraint.

        Args:
            lnType: logical node type.
            doName: data object, sub data objects after points.
            daName: attribute, components after points; empty for the whole data object.
            fc: functional constraint; empty for the first attribute of that name.
            indexed: one element of the array is meant.

        Raises:
            TypeResolutionError: a part of the reference, or a type it leads to, is unknown; the types contain
                themselves, or stand for more than ``MAX_PARTS`` parts.
        """
        key = (lnType, doName, daName, fc, indexed)
        known = self._known.get(key)
        if known is None:
            try:
                known = self._resolve(*key)
            except TypeResolutionError as error:
                known = error
            self._known[key] = known
        if isinstance(known, TypeResolutionError):
            raise TypeResolutionError(str(known), in_types=known.in_types)
        return known

    def _resolve(self, lnType: str, doName: str, daName: str, fc: str, indexed: bool) -> TypedAttribute:
        do_type, array = self.data_object(lnType, doName)
        budget = _Budget()
        if not daName:
            attributes = self._object(do_type, fc, budget, 0)
            if not attributes:
                raise TypeResolutionError(f"{doName} has no attribute with fc {fc}")
            return TypedAttribute(doName.rpartition(".")[2], STRUCTURE, fc, (), 0 if indexed else array, attributes)
        first, *components = daName.split(".")
        candidates = [da for da in do_type.da if da.name == first]
        found: DA | BDA | None = next((da for da in candidates if fc in {da.fc, ""}), None)
        if found is None:
            there = ", ".join(da.fc for da in candidates)
            reason = f"has fc {there}, not {fc}" if candidates else f"is not in DOType {do_type.id}"
            raise TypeResolutionError(f"{doName}.{first} {reason}")
        constraint = next(da.fc for da in candidates if da is found)
        siblings: Sequence[DA | BDA] = do_type.da
        for component in components:
            siblings = self._components(found)
            found = next((bda for bda in siblings if bda.name == component), None)
            if found is None:
                message = f"{doName}.{daName}: no component {component}"
                raise TypeResolutionError(message, in_types=not siblings)
        return self._attribute(found, siblings, constraint, budget, 0, indexed=indexed)

    def data_object(self, lnType: str, doName: str) -> tuple[DOType, int]:
        """Type of a data object or sub data object and, where it is an array, its size.

        Raises:
            TypeResolutionError: it is unknown.
        """
        lnode_type = self._lnode_types.get(lnType)
        if lnode_type is None:
            raise TypeResolutionError(f"LNodeType {lnType} is unknown", in_types=True)
        first, *others = doName.split(".")
        data_object = next((do for do in lnode_type.data_objects if do.name == first), None)
        if data_object is None:
            raise TypeResolutionError(f"data object {first} is not in LNodeType {lnType}")
        do_type, array = self._do_type(data_object.type, first), 0
        for name in others:
            sdo = next((sdo for sdo in do_type.sdo if sdo.name == name), None)
            if sdo is None:
                raise TypeResolutionError(f"{doName}: sub data object {name} is not in DOType {do_type.id}")
            array = array_size(sdo, do_type.da)
            do_type = self._do_type(sdo.type, doName)
        return do_type, array

    def _do_type(self, name: str, user: str) -> DOType:
        do_type = self._do_types.get(name)
        if do_type is None:
            raise TypeResolutionError(f"DOType {name} of {user} is unknown", in_types=True)
        return do_type

    def _components(self, attribute: DA | BDA) -> tuple[BDA, ...]:
        if attribute.bType != STRUCTURE:
            raise TypeResolutionError(f"{attribute.name} is a {attribute.bType} and has no components")
        components = self._da_types.get(attribute.type)
        if components is None:
            raise TypeResolutionError(f"DAType {attribute.type} of {attribute.name} is unknown", in_types=True)
        return components

    def _object(self, do_type: DOType, fc: str, budget: _Budget, depth: int) -> tuple[TypedAttribute, ...]:
        """All of a data object that has the functional constraint."""
        budget.spend(depth)
        found = []
        for part in do_type.parts():
            if isinstance(part, DA):
                if part.fc == fc:
                    found.append(self._attribute(part, do_type.da, fc, budget, depth))
                continue
            inner = self._object(self._do_type(part.type, part.name), fc, budget, depth + 1)
            if inner:
                found.append(TypedAttribute(part.name, STRUCTURE, fc, (), array_size(part, do_type.da), inner))
        return tuple(found)

    def _attribute(
        self,
        item: DA | BDA,
        siblings: Iterable[DA | BDA],
        fc: str,
        budget: _Budget,
        depth: int,
        *,
        indexed: bool = False,
    ) -> TypedAttribute:
        budget.spend(depth)
        literals: tuple[tuple[int, str], ...] = ()
        inner: tuple[TypedAttribute, ...] = ()
        if item.bType == STRUCTURE:
            components = self._components(item)
            inner = tuple(self._attribute(bda, components, fc, budget, depth + 1) for bda in components)
            if not inner:
                raise TypeResolutionError(f"DAType {item.type} of {item.name} has no components", in_types=True)
        elif item.bType == ENUMERATION:
            enumeration = self._enum_types.get(item.type)
            if enumeration is None:
                raise TypeResolutionError(f"EnumType {item.type} of {item.name} is unknown", in_types=True)
            literals = tuple((literal.ord, literal.value.strip()) for literal in enumeration.values)
        count = 0 if indexed else array_size(item, siblings)
        default = item.values[0].value.strip() if item.values else None
        return TypedAttribute(item.name, item.bType, fc, literals, count, inner, default)


class _Budget:
    """What one resolution may still cost."""

    def __init__(self) -> None:
        self._parts = 0

    def spend(self, depth: int) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise TypeResolutionError(f"types that stand for more than {MAX_PARTS} parts", in_types=True)
        if depth > _MAX_DEPTH:
            raise TypeResolutionError(
                f"types nested deeper than {_MAX_DEPTH}; do they contain themselves?", in_types=True
            )


def array_size(item: DA | BDA | SDO, siblings: Iterable[DA | BDA]) -> int:
    """Array size: a number, or the value of the attribute beside it that is named; 0 for no array.

    Raises:
        TypeResolutionError: it is neither, or too large.
    """
    count = item.count.strip()
    if not count:
        return 0
    if not count.isascii() or not count.isdigit():
        named = next((da for da in siblings if da.name == count), None)
        if named is None or not named.values:
            raise TypeResolutionError(
                f"array size {count!r} of {item.name} is neither a number nor an attribute with a value",
                in_types=True,
            )
        count = named.values[0].value.strip()
    if not count.isascii() or not count.isdigit() or len(count) > 6 or int(count) > MAX_COUNT:
        raise TypeResolutionError(f"array size {count[:40]!r} of {item.name}; expected 0 to {MAX_COUNT}", in_types=True)
    return int(count)
