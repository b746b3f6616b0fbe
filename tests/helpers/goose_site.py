"""The foreign IED with a GOOSE control block: ``Pos1`` and ``Ind1`` with quality and time, ``IntIn1`` with quality."""

from __future__ import annotations

import foreign_ied

from ied_agents.goose.publisher import Publisher, PublisherConfig
from ied_agents.iec61850.data import BitString
from ied_agents.iec61850.utctime import UtcTime

DST, APPID, CONF_REV = bytes.fromhex("010ccd010042"), 0x3001, 7
GOCB, DATASET, GO_ID = "REL1LD0/LLN0$GO$gcb1", "REL1LD0/LLN0$goose", "id1"
_MEMBERS = [("Pos1", "stVal"), ("Pos1", "q"), ("Pos1", "t"), ("Ind1", "stVal"), ("Ind1", "q"), ("Ind1", "t")]
_MEMBERS += [("IntIn1", "stVal"), ("IntIn1", "q")]
_FCDA = '<FCDA ldInst="LD0" prefix="" lnClass="GGIO" lnInst="2" doName="{}" daName="{}" fc="ST"/>'
_SET = '<DataSet name="goose">' + "".join(_FCDA.format(*each) for each in _MEMBERS) + "</DataSet>"
_CONTROL = f'<GSEControl name="gcb1" datSet="goose" confRev="{CONF_REV}" appID="{GO_ID}" type="GOOSE"/>'
_ADDRESS = """<Communication><SubNetwork name="W"><ConnectedAP iedName="REL1" apName="P1">
<GSE ldInst="LD0" cbName="gcb1"><Address>
<P type="MAC-Address">01-0C-CD-01-00-42</P><P type="APPID">3001</P></Address></GSE></ConnectedAP></SubNetwork>
</Communication><IED """


def scd():
    """The SCD."""
    node = '<LN0 lnClass="LLN0" inst="" lnType="LLN0">'
    text = foreign_ied.scd().replace(node, node + _SET, 1).replace("</LN0>", _CONTROL + "</LN0>", 1)
    return text.replace("<IED ", _ADDRESS, 1)


def members(position, t, indication=False, number=0, q=0):
    """Values of the members; ``t`` is that of position and indication."""
    quality = BitString(q, 13)
    return [BitString(position, 2), quality, t, indication, quality, t, number, quality]


def publisher(**changed):
    """Ours, as the SCD says but for what is changed."""
    given = {"appid": APPID, "gocbRef": GOCB, "datSet": DATASET, "goID": GO_ID, "confRev": CONF_REV}
    made = {"dst": DST, "src": bytes(6), "vlan_id": None, "vlan_priority": 0, "numDatSetEntries": 8, **given, **changed}
    return Publisher(PublisherConfig(**made))


def at(seconds):
    """A time that is accurate."""
    return UtcTime.from_ns(seconds * 10**9, 10)
