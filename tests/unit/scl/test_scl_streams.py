"""GOOSE streams and subscriptions; the sample's addresses as a foreign reader sees them."""

# ruff: noqa: E501  a piece of SCL stands on one line

from __future__ import annotations

from importlib.resources import files

import open61850.scl
import pytest

from scl import agent_model
from scl.document import SclError
from scl.reader import parse, read
from scl.streams import GooseIndex

SAMPLE = files("scl") / "samples" / "two_source.scd"

SERVER = """<IED name="{name}"><AccessPoint name="P"><Server><Authentication/><LDevice inst="LD"{ld}>
<LN0 lnClass="LLN0" inst="" lnType="LN"><DataSet name="d"><FCDA ldInst="LD" lnClass="LLN0" doName="Pos" daName="stVal" fc="ST"/>
</DataSet><DataSet name="e"><FCDA ldInst="LD" lnClass="LLN0" doName="Pos" fc="ST"/></DataSet>{controls}{inputs}</LN0>
</LDevice></Server></AccessPoint></IED>"""
TYPES = """<DataTypeTemplates><LNodeType id="LN" lnClass="LLN0"><DO name="Pos" type="DPC"/></LNodeType><DOType id="DPC" cdc="DPC">
<DA name="stVal" fc="ST" bType="Dbpos"/><DA name="q" fc="ST" bType="Quality"/></DOType></DataTypeTemplates>"""
ADDRESS = """<Communication><SubNetwork name="S"><ConnectedAP iedName="P" apName="P"><GSE ldInst="LD" cbName="g"><Address>
{parameters}</Address>{times}</GSE></ConnectedAP></SubNetwork></Communication>"""
MAC = '<P type="MAC-Address">01-0C-CD-01-00-10</P>'
APPID = '<P type="APPID">3A01</P>'


def index(controls: str, inputs: str = "", parameters: str = MAC + APPID, times: str = "", ld: str = "") -> GooseIndex:
    text = (
        "<SCL>"
        + ADDRESS.format(parameters=parameters, times=times)
        + SERVER.format(name="P", controls=controls, inputs="", ld=ld)
        + SERVER.format(name="S", controls="", inputs=f"<Inputs>{inputs}</Inputs>", ld="")
        + TYPES
        + "</SCL>"
    )
    return GooseIndex(parse(text, "x.scd"))


CONTROL = '<GSEControl name="g" appID="id" datSet="d" confRev="3"/>'


def test_sample_as_open61850_reads_it():
    scl = read(str(SAMPLE))
    streams = GooseIndex(scl)
    ours = {stream.gocbRef: stream for ied in scl.ieds for stream in streams.published_by(ied.name)}
    theirs = [block for ied in open61850.scl.load_ieds(str(SAMPLE)) for block in ied.goose_controls]
    assert len(theirs) == len(ours) == 20
    for block in theirs:
        stream = ours[block.gocb_ref]
        address = block.address
        assert stream.datSet == block.data_set_reference
        assert (stream.goID, stream.confRev) == (block.go_id, block.conf_rev)
        assert stream.address.mac.hex(":") == address.mac
        assert stream.address.appid == address.app_id
        assert (stream.address.vlan_id, stream.address.vlan_priority) == (
            address.vlan_id,
            address.vlan_priority,
        )
        assert (stream.min_time_ms, stream.max_time_ms) == (address.min_time_ms, address.max_time_ms)


def test_sample_data_sets_as_open61850_reads_them():
    index_ = GooseIndex(read(str(SAMPLE)))
    for ied in open61850.scl.load_ieds(str(SAMPLE)):
        for stream in index_.published_by(ied.name):
            data_set = next(each for each in ied.data_sets if stream.datSet.endswith("$" + each.name))
            theirs = [str(reference) for reference in data_set.references()]
            assert len(theirs) == len(stream.members)
            for member, reference in zip(stream.members, theirs, strict=True):
                assert member.reference.split("/")[1].split(".")[0] in reference
                assert member.reference.rsplit(".", 1)[1] in reference


def test_sample_matches_the_agents_wire_format():
    streams = GooseIndex(read(str(SAMPLE)))
    for iedName, node in (("F1Q1", "XCBR1"), ("T9", "XSWI1")):
        for stream, expected in zip(streams.published_by(iedName), (agent_model.FAST, agent_model.SLOW), strict=True):
            assert len(stream.members) == len(expected)
            for member, model in zip(stream.members, expected, strict=True):
                assert member.ln == model.ln.replace("SW1", node)
                assert (member.doName, member.daName, member.fc) == (model.do, model.da, model.fc)
                assert member.type.count == model.count
                leaves = member.type.attributes or (member.type,)
                assert [leaf.bType for leaf in leaves] == [attribute.bType for attribute in model.attributes]
                for leaf, attribute in zip(leaves, model.attributes, strict=True):
                    assert dict(leaf.literals) == {n: text for n, text in enumerate(attribute.literals) if text}


def test_stream_without_address_and_defaults():
    (stream,) = index(CONTROL.replace('"g"', '"other"')).published_by("P")
    assert stream.address is None
    assert stream.min_time_ms is None
    (stream,) = index(CONTROL).published_by("P")
    assert (stream.address.vlan_id, stream.address.vlan_priority) == (0, 4)


def test_ldName_replaces_ied_name_and_instance():
    (stream,) = index(CONTROL, ld=' ldName="Other"').published_by("P")
    assert (stream.gocbRef, stream.datSet) == ("Other/LLN0$GO$g", "Other/LLN0$d")
    assert stream.members[0].reference == "Other/LLN0.Pos.stVal"


def test_times_in_other_units():
    (stream,) = index(
        CONTROL, times='<MinTime multiplier="m">4.5</MinTime><MaxTime multiplier="">2</MaxTime>'
    ).published_by("P")
    assert (stream.min_time_ms, stream.max_time_ms) == (4.5, 2000.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"controls": CONTROL.replace(' confRev="3"', "")}, "without confRev"),
        ({"controls": CONTROL.replace('"d"', '"z"')}, "no DataSet 'z'"),
        ({"parameters": MAC}, "without APPID"),
        ({"parameters": APPID}, "without MAC-Address"),
        ({"parameters": MAC.replace("CD", "CG") + APPID}, "MAC-Address '01-0C-CG-01-00-10'"),
        (
            {"parameters": MAC + APPID.replace("3A01", "13A01")},
            "APPID '13A01'; expected hexadecimal digits up to FFFF",
        ),
        ({"parameters": MAC + APPID.replace("3A01", "-1")}, "APPID '-1'"),
        ({"parameters": MAC + APPID + '<P type="VLAN-ID">1000</P>'}, "VLAN-ID '1000'"),
        (
            {"parameters": MAC + APPID + '<P type="VLAN-PRIORITY">8</P>'},
            "VLAN-PRIORITY '8'; expected digits up to 7",
        ),
        ({"times": '<MinTime multiplier="M">4</MinTime>'}, "MinTime in Ms; expected ms or s"),
        ({"times": "<MaxTime>0</MaxTime>"}, "MaxTime 0; expected more than 0"),
    ],
)
def test_streams_that_cannot_be_used_are_located(changes, message):
    with pytest.raises(SclError, match=message) as caught:
        index(**{"controls": CONTROL} | changes).published_by("P")
    assert caught.value.line > 0
    assert caught.value.path.startswith("/SCL/")


REF = '<ExtRef iedName="P" ldInst="LD" lnClass="LLN0" doName="Pos" {}/>'


def subscribed(inputs: str, controls: str = CONTROL) -> tuple[list[tuple[str, int]], list[str]]:
    found, missing = index(controls, inputs).subscriptions("S")
    return [(each.stream.cbName, len(each.extrefs)) for each in found], [each.reason for each in missing]


def test_edition_2_names_the_control_block():
    inputs = REF.format('daName="stVal" srcCBName="g" serviceType="GOOSE"') + REF.format('daName="q" srcCBName="g"')
    assert subscribed(inputs) == ([("g", 2)], [])


def test_edition_1_is_found_by_the_data():
    assert subscribed(REF.format('daName="stVal"')) == ([("g", 1)], [])
    assert subscribed(REF.format("")) == ([("g", 1)], [])


def test_edition_1_data_in_a_whole_object():
    controls = CONTROL + CONTROL.replace('"g"', '"h"').replace('"d"', '"e"')
    assert subscribed(REF.format('daName="q"'), controls) == ([("h", 1)], [])


def test_edition_1_of_several_the_one_that_lists_the_subscriber():
    listed = '<GSEControl name="h" appID="id2" datSet="d" confRev="1"><IEDName>S</IEDName></GSEControl>'
    assert subscribed(REF.format('daName="stVal"'), CONTROL + listed) == ([("h", 1)], [])


def test_polled_reported_and_unbound_inputs_are_none():
    inputs = (
        REF.format('serviceType="Poll"')
        + REF.format('serviceType="Report" srcCBName="g"')
        + '<ExtRef intAddr="a" pDO="Pos"/>'
        + REF.format('daName="zzz"')
        + REF.format('srcCBName="report"')
    )
    assert subscribed(inputs) == ([], [])


def test_what_is_missing_is_told():
    inputs = (
        REF.format('srcCBName="z" serviceType="GOOSE"')
        + REF.format('daName="zzz" serviceType="GOOSE"')
        + REF.format("").replace('"P"', '"Q"')
    )
    assert subscribed(inputs) == (
        [],
        [
            "P has no GOOSE control block z in LD",
            "no GOOSE data set of P holds this data",
            "IED Q is not in the file",
        ],
    )


def test_own_data():
    inputs = REF.format('srcCBName="g"').replace('"P"', '"@"')
    text_index = index(CONTROL)
    assert text_index.subscriptions("nobody") == ((), ())
    found, missing = index("", inputs).subscriptions("S")
    assert (found, missing) == ((), ())
