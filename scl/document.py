"""The XML layer of an SCL file: a small element tree that remembers lines and loses nothing.

Read with expat rather than a larger library because SCL needs no DTD, no entity and no schema machinery, and
what is not there cannot be attacked: a document type declaration is refused where it starts, so no entity can
ever be declared, and depth, size and number of nodes are bounded while reading. Comments, processing
instructions, foreign name spaces, prefixes and white space are kept, so that a file that was read can be
written again unharmed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from xml.parsers import expat

if TYPE_CHECKING:
    from collections.abc import Iterator

SCL_NAMESPACE: Final = "http://www.iec.ch/61850/2003/SCL"

MAX_OCTETS: Final = 256 * 1024 * 1024
"""Largest file read. A system of 1,000 agents takes about 20 MB."""
MAX_DEPTH: Final = 100
"""Deepest nesting read. Real files stay below 25."""
MAX_NODES: Final = 4_000_000
"""Most elements, comments and instructions of one file; bounds memory to a few GB for the worst file of
MAX_OCTETS."""
MAX_TEXT: Final = 10 * 1024 * 1024
"""Longest text or attribute value, in characters."""

COMMENT: Final = "<!--"
INSTRUCTION: Final = "<?"

_XML_NAMESPACE: Final = "http://www.w3.org/XML/1998/namespace"
_NAMES: Final = ("name", "id")
_IDENTIFYING: Final = (
    "iedName", "apName", "prefix", "lnClass", "lnInst", "inst", "ldInst", "cbName", "srcCBName", "doName",
    "daName", "type", "ord",
)  # fmt: skip


class SclError(ValueError):
    """Something in an SCL file that cannot be used, and where.

    Attributes:
        message: what is wrong and what was expected.
        file: name of the file, as given to the reader.
        line: line the element starts in, from 1; 0 where there is none (a missing file).
        path: path of the element, ``/SCL/IED[@name="F1Q1"]/AccessPoint[@name="P1"]``.
        rule: the rule of ``scl.validation`` that it breaks.
    """

    def __init__(
        self, message: str, *, file: str = "", line: int = 0, path: str = "", rule: str = "unreadable"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.path = path
        self.rule = rule

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.path, self.message) if part)


@dataclass(slots=True, eq=False)
class Element:
    """One element as it stands in the file.

    Attributes:
        tag: name as written, with prefix; ``<!--`` or ``<?`` for a comment or a processing instruction.
        local: name without prefix; empty for comments and instructions.
        namespace: URI of the name space, empty for none.
        attributes: as written, with prefixes, including the declarations of name spaces.
        line: line the start tag begins in, from 1.
        parent: the element around this one.
        children: elements, comments and instructions inside, in order.
        text: character data up to the first child; the content of a comment or an instruction.
        tail: character data after the end tag.
    """

    tag: str
    local: str
    namespace: str
    attributes: dict[str, str]
    line: int
    parent: Element | None = None
    children: list[Element] = field(default_factory=list)
    text: str = ""
    tail: str = ""

    @property
    def path(self) -> str:
        """Path from the root; each step with what identifies the element, or its place among its like."""
        steps = []
        element: Element | None = self
        while element is not None:
            steps.append(_step(element))
            element = element.parent
        return "/" + "/".join(reversed(steps))

    def elements(self) -> Iterator[Element]:
        """Child elements, without comments and instructions."""
        return (child for child in self.children if child.local)

    def walk(self) -> Iterator[Element]:
        """This element and all elements below it, in document order."""
        stack = [self]
        while stack:
            element = stack.pop()
            yield element
            stack.extend(child for child in reversed(element.children) if child.local)


def _step(element: Element) -> str:
    attributes = element.attributes
    names = [name for name in _NAMES if attributes.get(name)] or [n for n in _IDENTIFYING if attributes.get(n)]
    marks = [f'[@{name}="{attributes[name]}"]' for name in names]
    if not marks and element.parent is not None:
        place = 1
        for other in element.parent.children:
            if other is element:
                break
            place += other.tag == element.tag
        marks = [f"[{place}]"] if place > 1 else []
    return element.tag + "".join(marks)


@dataclass(slots=True, eq=False)
class Document:
    """A whole file: its root element and the comments and instructions before and after it."""

    file: str
    root: Element
    prolog: list[Element]
    epilog: list[Element]


def parse_document(data: bytes | str, file: str = "") -> Document:
    """Read XML into a tree.

    Args:
        data: the file's octets, in any encoding that expat knows, or its text, whatever encoding it declares.
        file: its name, for error messages.

    Raises:
        SclError: no well-formed XML, a document type declaration, an undeclared prefix, or a limit exceeded.
    """
    encoding = None
    if isinstance(data, str):
        data, encoding = data.encode(errors="replace"), "utf-8"
    if len(data) > MAX_OCTETS:
        raise SclError(f"file of more than {MAX_OCTETS} octets", file=file)
    return _Parser(file, encoding).parse(data)


class _Parser:
    """Handlers for one expat run."""

    def __init__(self, file: str, encoding: str | None) -> None:
        self._file = file
        self._expat = expat.ParserCreate(encoding)
        self._expat.buffer_text = True
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._characters
        self._expat.CommentHandler = self._comment
        self._expat.ProcessingInstructionHandler = self._instruction
        self._expat.StartDoctypeDeclHandler = self._doctype
        self._root: Element | None = None
        self._prolog: list[Element] = []
        self._epilog: list[Element] = []
        self._open: list[Element] = []
        self._prefixes: list[dict[str, str]] = [{"": "", "xml": _XML_NAMESPACE}]
        self._last: Element | None = None  # element whose tail the next characters are
        self._pending: list[str] = []
        self._pending_size = 0
        self._nodes = 0
        self._spaces: dict[str, str] = {}

    def parse(self, data: bytes) -> Document:
        try:
            self._expat.Parse(data, True)
        except SclError:
            raise
        except expat.ExpatError as error:
            message = f"broken XML: {expat.ErrorString(error.code)} in column {error.offset + 1}"
            path = self._open[-1].path if self._open else ""
            raise SclError(message, file=self._file, line=error.lineno, path=path) from None
        except (LookupError, ValueError) as error:
            # From the codec that the XML declaration names: unknown, or not one octet per character.
            raise SclError(f"encoding that cannot be read: {error}", file=self._file, line=1) from None
        if self._root is None:  # expat reports "no element found"; kept for the type checker
            raise SclError("no element in the file", file=self._file, line=1)
        return Document(self._file, self._root, self._prolog, self._epilog)

    def _error(self, message: str) -> SclError:
        path = self._open[-1].path if self._open else ""
        return SclError(message, file=self._file, line=self._expat.CurrentLineNumber, path=path)

    def _doctype(self, name: str, system: str | None, public: str | None, internal: bool) -> None:
        del name, system, public, internal
        raise self._error("document type declaration; SCL has none, and entities are not read")

    def _characters(self, text: str) -> None:
        self._pending_size += len(text)
        if self._pending_size > MAX_TEXT:
            raise self._error(f"text of more than {MAX_TEXT} characters")
        self._pending.append(text)

    def _flush(self) -> None:
        if not self._pending:
            return
        text = self._pending[0] if len(self._pending) == 1 else "".join(self._pending)
        self._pending.clear()
        self._pending_size = 0
        if len(text) < 64:
            text = self._spaces.setdefault(text, text)
        if self._last is not None:
            self._last.tail += text
        else:
            self._open[-1].text += text

    def _append(self, element: Element) -> None:
        self._flush()
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._error(f"more than {MAX_NODES} elements")
        if self._open:
            element.parent = self._open[-1]
            element.parent.children.append(element)
        elif element.local:
            self._root = element
        else:
            (self._prolog if self._root is None else self._epilog).append(element)

    def _comment(self, text: str) -> None:
        self._append_other(Element(COMMENT, "", "", {}, self._expat.CurrentLineNumber, text=text))

    def _instruction(self, target: str, text: str) -> None:
        text = f"{target} {text}" if text else target
        self._append_other(Element(INSTRUCTION, "", "", {}, self._expat.CurrentLineNumber, text=text))

    def _append_other(self, element: Element) -> None:
        self._append(element)
        self._last = element if self._open else None

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise self._error(f"elements nested deeper than {MAX_DEPTH}")
        prefixes = self._prefixes[-1]
        for name, value in attributes.items():
            if len(value) > MAX_TEXT:
                raise self._error(f"attribute {name} of more than {MAX_TEXT} characters")
            if name.startswith("xmlns") and (len(name) == 5 or name[5] == ":"):
                if prefixes is self._prefixes[-1]:
                    prefixes = dict(prefixes)
                prefixes[name[6:]] = value
        prefix, colon, local = tag.rpartition(":")
        namespace = prefixes.get(prefix)
        if namespace is None or not local or (colon and not prefix):
            raise self._error(f"element {tag} with a prefix that is not declared")
        for name in attributes:
            if ":" in name and not name.startswith("xmlns:") and name.partition(":")[0] not in prefixes:
                raise self._error(f"attribute {name} of {tag} with a prefix that is not declared")
        element = Element(tag, local, namespace, attributes, self._expat.CurrentLineNumber)
        self._append(element)
        self._open.append(element)
        self._prefixes.append(prefixes)
        self._last = None

    def _end(self, tag: str) -> None:
        del tag
        self._flush()
        closed = self._open.pop()
        self._last = closed if self._open else None
        self._prefixes.pop()


_TEXT_SPECIAL: Final = re.compile(r"[&<>\r]")
_VALUE_SPECIAL: Final = re.compile(r'[&<>"\t\n\r]')
_ESCAPES: Final = {
    "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;",
}  # fmt: skip


def escape_text(text: str) -> str:
    """Text as character data of an element."""
    return _TEXT_SPECIAL.sub(lambda match: _ESCAPES[match[0]], text)


def escape_value(text: str) -> str:
    """Text as an attribute value in double quotes; white space survives the normalisation of a reader."""
    return _VALUE_SPECIAL.sub(lambda match: _ESCAPES[match[0]], text)


def serialise(document: Document) -> bytes:
    """Write the tree as UTF-8.

    Reading the result gives an equal tree; the XML declaration, the quoting and the white space inside tags
    are the only things that may differ from the file it came from.
    """
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n']
    for element in document.prolog:
        _write(element, parts)
        parts.append("\n")
    _write(document.root, parts)
    parts.append("\n")
    for element in document.epilog:
        _write(element, parts)
        parts.append("\n")
    return "".join(parts).encode()


def _write(element: Element, parts: list[str]) -> None:
    if element.tag == COMMENT:
        parts.append(f"<!--{element.text}-->")
    elif element.tag == INSTRUCTION:
        parts.append(f"<?{element.text}?>")
    else:
        parts.append("<" + element.tag)
        parts.extend(f' {name}="{escape_value(value)}"' for name, value in element.attributes.items())
        if element.children or element.text:
            parts.append(">" + escape_text(element.text))
            for child in element.children:
                _write(child, parts)
            parts.append(f"</{element.tag}>")
        else:
            parts.append("/>")
    parts.append(escape_text(element.tail))
