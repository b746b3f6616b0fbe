"""Every GOOSE frame of the corpus, member by member, beside tshark."""

from __future__ import annotations

import pytest

from ied_agents.goose.errors import GooseDecodeError
from ied_agents.goose.frame import EthernetFrame, format_mac
from ied_agents.goose.pdu import decode_pdu, encode_pdu
from ied_agents.iec61850.data import Structure
from ied_agents.iec61850.utctime import UtcTime
from tools.pcap import read_capture

CAPTURES = {  # GOOSE frames in each
    "ipal/goose-single.pcapng": 1,
    "icsnpp-goose/testing/Traces/GOOSE_missing_all_data.pcap": 1,
    "icsnpp-goose/testing/Traces/GOOSE_missing_conf_rev.pcap": 1,
    "icsnpp-goose/testing/Traces/GOOSE_missing_dataset.pcap": 1,
    "icsnpp-goose/testing/Traces/GOOSE_missing_go_id.pcap": 1,
    "iti/pcaps/IEC61850/GOOSE/GOOSE.pcap": 8,
    "iti/pcaps/IEC61850/GOOSE/GOOSE_DEMO.pcap": 1,
    "iti/pcaps/IEC61850/Sample_File_MMS_and_GOOSE.pcap": 34,
}
TRACES = "icsnpp-goose/testing/Traces/"
# What strict reading says. Somebody cut these frames without rewriting the PDU's length in its shortest form.
REFUSED = {
    TRACES + "GOOSE_missing_all_data.pcap": "length 100 is written in 2 octets: too many",
    TRACES + "GOOSE_missing_conf_rev.pcap": "missing",
    TRACES + "GOOSE_missing_dataset.pcap": "length 108 is written in 2 octets: too many",
    TRACES + "GOOSE_missing_go_id.pcap": "length 121 is written in 2 octets: too many",
}
# The two frames that tshark calls malformed: lenient reading refuses them too, no value is made up.
MALFORMED = {
    TRACES + "GOOSE_missing_conf_rev.pcap": "confRev",
    TRACES + "GOOSE_missing_dataset.pcap": "datSet",
}


def frames_of(corpus, name):
    return dict(enumerate((packet.data for packet in read_capture(corpus / "pcap" / name)), 1))


def comparable(value):
    """Times as tshark gives them: text with ns, rounded in another way than ours."""
    if isinstance(value, Structure):
        return Structure(comparable(member) for member in value)
    return (value.to_ns() // 10, value.quality) if isinstance(value, UtcTime) else value


def shown_time(value):
    return value if not hasattr(value, "ns") else (value.ns // 10, value.quality)


@pytest.mark.parametrize("name", CAPTURES)
def test_frames_decode_to_what_tshark_shows(corpus, read_with_tshark, name):
    frames = frames_of(corpus, name)
    shown_frames = read_with_tshark(corpus / "pcap" / name)
    assert len(shown_frames) == CAPTURES[name]
    for shown_frame in shown_frames:
        frame = EthernetFrame.decode(frames[shown_frame.number])
        shown = shown_frame.shown
        assert format_mac(frame.dst).replace("-", ":").lower() == shown["eth.dst"]
        assert format_mac(frame.src).replace("-", ":").lower() == shown["eth.src"]
        assert frame.vlan_id == (int(shown["vlan.id"]) if "vlan.id" in shown else None)
        assert frame.vlan_priority == int(shown.get("vlan.priority", 0))
        assert frame.appid == int(shown["goose.appid"], 16)
        assert len(frame.apdu) + 8 == int(shown["goose.length"])
        assert frame.simulated == (shown["goose.reserve1.s_bit"] == "1")
        assert bool(shown_frame.complaints) == (name in MALFORMED)
        if name in REFUSED:
            with pytest.raises(GooseDecodeError) as caught:
                decode_pdu(frame.apdu)
            assert caught.value.reason == REFUSED[name]
        if name in MALFORMED:
            with pytest.raises(GooseDecodeError) as caught:
                decode_pdu(frame.apdu, strict=False)
            assert (caught.value.field, caught.value.reason) == (MALFORMED[name], "missing")
            continue
        pdu = decode_pdu(frame.apdu, strict=False)
        if name not in REFUSED:
            assert decode_pdu(frame.apdu) == pdu
        assert pdu.gocbRef == shown["goose.gocbRef"]
        assert pdu.timeAllowedtoLive == int(shown["goose.timeAllowedtoLive"])
        assert pdu.datSet == shown["goose.datSet"]
        assert pdu.goID == shown.get("goose.goID")
        assert abs(pdu.t.to_ns() - shown_frame.t.ns) <= 1
        assert pdu.t.quality == shown_frame.t.quality
        assert pdu.stNum == int(shown["goose.stNum"])
        assert pdu.sqNum == int(shown["goose.sqNum"])
        assert pdu.simulation == (shown["goose.simulation"] == "1")
        assert pdu.confRev == int(shown["goose.confRev"])
        assert pdu.ndsCom == (shown["goose.ndsCom"] == "1")
        assert pdu.numDatSetEntries == int(shown["goose.numDatSetEntries"])
        assert len(pdu.allData) == len(shown_frame.all_data)
        for ours, theirs in zip(pdu.allData, shown_frame.all_data, strict=True):
            assert type(comparable(ours)) is type(shown_time(theirs))
            assert comparable(ours) == shown_time(theirs)


@pytest.mark.parametrize("name", sorted(CAPTURES.keys() - REFUSED.keys()))
def test_frames_in_shortest_encoding_come_out_as_they_went_in(corpus, name):
    frames = [frame for frame in frames_of(corpus, name).values() if b"\x88\xb8" in (frame[12:14], frame[16:18])]
    assert len(frames) == CAPTURES[name]
    for octets in frames:
        frame = EthernetFrame.decode(octets)
        assert octets.startswith(frame.encode())
        pdu = decode_pdu(frame.apdu)
        again = encode_pdu(pdu)
        assert decode_pdu(again) == pdu
        assert len(again) <= len(frame.apdu)
