"""A whole SCL file as typed elements: the view that everything else works on."""

# ruff: noqa: TC001  types of fields: the binding reads them at run time

from __future__ import annotations

from dataclasses import dataclass, field

from scl.binding import GIVEN, Described, Node, Text
from scl.communication import Communication
from scl.document import Document, SclError
from scl.ied import IED
from scl.substation import Line, Process, Substation
from scl.templates import DataTypeTemplates


@dataclass(frozen=True, slots=True, kw_only=True)
class Hitem(Node):
    """One entry of the history of a file."""

    version: str
    revision: str
    when: str = ""
    who: str = ""
    what: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class History(Node):
    """What was done to the file."""

    items: tuple[Hitem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Header(Node):
    """Identification of the file."""

    id: str
    version: str = ""
    revision: str = ""
    toolID: str = ""
    nameStructure: str = "IEDName"
    note: Text | None = None
    history: History | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SCL(Described):
    """An SCL file of any kind (SCD, ICD, CID, IID, SSD, SED).

    Attributes:
        version: ``2007`` from Edition 2 on, empty for Edition 1.
        document: the file as it was read; the writer writes this.
    """

    version: str = ""
    revision: str = ""
    release: int | None = None
    header: Header | None = None
    substations: tuple[Substation, ...] = ()
    lines: tuple[Line, ...] = ()
    processes: tuple[Process, ...] = ()
    communication: Communication | None = None
    ieds: tuple[IED, ...] = ()
    templates: DataTypeTemplates | None = None
    document: Document = field(compare=False, repr=False, metadata=GIVEN)

    @property
    def file(self) -> str:
        """Name of the file, as given to the reader."""
        return self.document.file

    def ied(self, name: str) -> IED | None:
        """The IED of that name, None where there is none."""
        return next((ied for ied in self.ieds if ied.name == name), None)

    def error(self, rule: str, message: str, node: Node) -> SclError:
        """An error located at an element of this file, against a rule of ``scl.validation``."""
        return SclError(message, file=self.file, line=node.line, path=node.path, rule=rule)
