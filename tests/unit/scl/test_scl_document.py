"""The XML layer: what is kept, what is refused, and where errors are located."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from scl import document
from scl.document import SclError, parse_document, serialise


def parse(text: str | bytes):
    return parse_document(text, "a.scd")


def canonical(data: bytes) -> bytes:
    return etree.tostring(etree.fromstring(data), method="c14n2")


KEEPS = [
    "<a/>",
    "<a> text &amp; &lt;more&gt; <b/> tail <c> x </c>\n</a>",
    '<a x="1" y=\'two "quoted" &#10;line\' z="&#9;tab &#13; cr"/>',
    "<?pi before?><!-- first --><a><!-- - in - --><?target some data?></a><!-- after --><?end?>",
    '<p:a xmlns:p="urn:p" xmlns="urn:d" p:x="1"><b xmlns=""/><q:c xmlns:q="u:q" q:y="2" xml:lang="e"/></p:a>',
    "<a><![CDATA[<not> & markup]]></a>",
    "<a>é € 漢 \U0001f600 &#13;</a>",
]


@pytest.mark.parametrize("text", KEEPS)
def test_what_was_read_is_written_again(text):
    assert canonical(serialise(parse(text))) == canonical(text.encode())


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])), st.text("ab<>&\"'\t\n\r "))
def test_any_text_and_value_survives(text, value):
    root = parse("<a x=''/>").root
    root.text, root.attributes["x"] = text, value
    again = parse(serialise(document.Document("", root, [], []))).root
    assert (again.text, again.attributes["x"]) == (text, value)


def test_lines_and_paths():
    root = parse('<SCL>\n <!-- c\n -->\n <IED name="X"\n  desc="d"><AccessPoint/>\n<Server/><Server/></IED></SCL>').root
    ied = next(root.elements())
    point, first, second = ied.children
    assert [ied.line, point.line, first.line] == [4, 5, 6]
    assert ied.path == '/SCL/IED[@name="X"]'
    assert point.path == '/SCL/IED[@name="X"]/AccessPoint'
    assert second.path == '/SCL/IED[@name="X"]/Server[2]'


def test_lines_beyond_16_bits():
    root = parse("<a>" + "\n" * 70_000 + "<b/></a>").root
    assert root.children[0].line == 70_001


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("<a>\n<b></a>", 2, "broken XML: mismatched tag"),
        ("", 1, "broken XML: no element found"),
        ("<a>\n &undefined;</a>", 2, "broken XML: undefined entity"),
        ('<!DOCTYPE a [<!ENTITY e "x">]>\n<a>&e;</a>', 1, "document type declaration"),
        ('\n<!DOCTYPE a SYSTEM "file:///etc/passwd">\n<a/>', 2, "document type declaration"),
        ("<a>\n<p:b/></a>", 2, "prefix that is not declared"),
        ('<a>\n<b p:x="1"/></a>', 2, "prefix that is not declared"),
        ("<a>\n" + "<b>" * 200 + "</b>" * 200 + "</a>", 2, "nested deeper than 100"),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', 1, "encoding"),
        (b'<?xml version="1.0" encoding="utf-7"?><a/>', 1, "encoding"),
        ('<a>\n<b x="1"\n x="2"/></a>', 3, "broken XML: duplicate attribute"),
        (b"<a>\n\xff\xfe</a>", 2, "broken XML: not well-formed"),
    ],
)
def test_refused_with_line(text, line, message):
    with pytest.raises(SclError, match=message) as caught:
        parse(text)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"a.scd:{line}: ")


def test_error_names_the_open_element():
    with pytest.raises(SclError) as caught:
        parse('<SCL><IED name="X"><AccessPoint name="P"><oops></IED></SCL>')
    assert caught.value.path == '/SCL/IED[@name="X"]/AccessPoint[@name="P"]/oops'


@pytest.mark.parametrize("limit", ["MAX_NODES", "MAX_TEXT", "MAX_OCTETS"])
def test_limits(monkeypatch, limit):
    text = "<a x='123456789'>123456789<b/><b/><b/><b/><b/><b/><b/></a>"
    parse(text)
    monkeypatch.setattr(document, limit, 7)
    with pytest.raises(SclError, match="7"):
        parse(text)


def test_long_attribute_is_refused(monkeypatch):
    monkeypatch.setattr(document, "MAX_TEXT", 7)
    with pytest.raises(SclError, match="attribute x"):
        parse("<a x='12345678'/>")


def test_text_given_as_str_ignores_the_declared_encoding():
    assert parse('<?xml version="1.0" encoding="iso-8859-1"?><a>é</a>').root.text == "é"


def test_other_encodings():
    assert parse('<?xml version="1.0" encoding="windows-1252"?><a>é€</a>'.encode("cp1252")).root.text == "é€"
    assert parse('<?xml version="1.0" encoding="utf-16"?><a>é€</a>'.encode("utf-16")).root.text == "é€"


@given(st.binary(max_size=200))
def test_any_octets_give_a_tree_or_a_located_error(data):
    try:
        place = parse(data).root.line
    except SclError as error:
        place = error.line
    assert place >= 1
