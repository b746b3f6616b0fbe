"""A foreign IED of one kind or another in a process of its own: ``python foreign_ied.py KIND PORT RATE``.

KIND is ``libiec61850`` or ``open61850``: whose server it is. RATE: changes a second of the counting points, each with
the next number as its value and its own time, from when it reads ``count``. Says its port, then the last number that
was made, line by line. Each line that is read sets values, ``{"GGIO2.Ind1": {"stVal": true, "q": 0, "t": [ns,
quality]}}``, or is one of these: ``count``; ``stop``, end the counting; ``refuse REFERENCE ADDCAUSE``, have controls of
an object refused, with 0 accepted again; ``keep ENTRIES``, open61850 keeps so many of each block.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime

from ied_agents.iec61850.addcause import AddCause
from ied_agents.iec61850.utctime import UtcTime
from scl.reader import parse

IED, LD = "REL1", "REL1LD0"
COUNTING = 20
QUALITY = '<DA name="q" bType="Quality" fc="{fc}" qchg="true"/><DA name="t" bType="Timestamp" fc="{fc}"/>'
ST, MX = QUALITY.format(fc="ST"), QUALITY.format(fc="MX")
MODELS = ("status-only", "direct-with-normal-security", "sbo-with-normal-security",
          "direct-with-enhanced-security", "sbo-with-enhanced-security")  # fmt: skip


def da(name, bType, fc="ST", types="", value="", trigger="dchg"):
    more = f' type="{types}"' if types else ""
    val = f"<Val>{value}</Val>" if value else ""
    on = f' {trigger}="true"' if fc in ("ST", "MX") and trigger else ""
    return f'<DA name="{name}" bType="{bType}" fc="{fc}"{more}{on}>{val}</DA>'


def oper(name, members):
    return f'<DAType id="{name}">' + "".join(members) + "</DAType>"


def bda(name, bType, types=""):
    more = f' type="{types}"' if types else ""
    return f'<BDA name="{name}" bType="{bType}"{more}/>'


def order(kind, cancel=False):
    common = [
        bda("origin", "Struct", "Originator"),
        bda("ctlNum", "INT8U"),
        bda("T", "Timestamp"),
        bda("Test", "BOOLEAN"),
    ]
    return [bda("ctlVal", *kind), *common, *([] if cancel else [bda("Check", "Check")])]


def controlled(model, kind):
    parts = [da("ctlModel", "Enum", "CF", "CtlModelKind", MODELS[model])]
    if model == 2:
        parts.append(da("SBO", "ObjRef", "CO"))
    if model == 4:
        parts.append(da("SBOw", "Struct", "CO", f"Oper{kind}"))
    return "".join([*parts, da("Oper", "Struct", "CO", f"Oper{kind}"), da("Cancel", "Struct", "CO", f"Cancel{kind}")])


def do_types():
    origin = da("origin", "Struct", "ST", "Originator", trigger="") + da("ctlNum", "INT8U", trigger="")
    types = {
        ("SPS", "SPS"): da("stVal", "BOOLEAN") + ST,
        ("DPS", "DPS"): da("stVal", "Dbpos") + ST,
        ("INS", "INS"): da("stVal", "INT32") + ST,
        ("ENS", "ENS"): da("stVal", "Enum", types="HealthKind") + ST,
        ("MV", "MV"): da("mag", "Struct", "MX", "Analogue") + MX,
        ("MVI", "MV"): da("mag", "Struct", "MX", "AnalogueI") + MX + da("sVC", "Struct", "CF", "ScaledValueConfig"),
        ("CMV", "CMV"): da("cVal", "Struct", "MX", "Vector") + MX,
        ("WYE", "WYE"): "".join(f'<SDO name="{phase}" type="CMV"/>' for phase in ("phsA", "phsB", "phsC")),
        ("BCR", "BCR"): da("actVal", "INT64") + ST,
        ("ACT", "ACT"): da("general", "BOOLEAN") + da("phsA", "BOOLEAN") + da("phsC", "BOOLEAN") + ST,
        ("ACD", "ACD"): da("general", "BOOLEAN") + da("dirGeneral", "Enum", types="DirKind") + ST,
        ("DPC4", "DPC"): origin + da("stVal", "Dbpos") + ST + controlled(4, "Bool"),
        ("DPC3", "DPC"): origin + da("stVal", "Dbpos") + ST + controlled(3, "Bool"),
        ("SPC1", "SPC"): origin + da("stVal", "BOOLEAN") + ST + controlled(1, "Bool"),
        ("SPC2", "SPC"): origin + da("stVal", "BOOLEAN") + ST + controlled(2, "Bool"),
        ("INC1", "INC"): origin + da("stVal", "INT32") + ST + controlled(1, "Int"),
        ("BSC1", "BSC"): origin + da("valWTr", "Struct", "ST", "ValWithTrans") + ST + controlled(1, "Tcmd"),
    }  # fmt: skip
    return "".join(f'<DOType id="{name}" cdc="{cdc}">{parts}</DOType>' for (name, cdc), parts in types.items())


NODES = {
    "GGIO1": {f"AnIn{n + 1}": "MV" for n in range(COUNTING)},
    "GGIO2": {"Ind1": "SPS", "Ind2": "SPS", "IntIn1": "INS", "EnIn1": "ENS", "Pos1": "DPS"},
    "GGIO3": {"Ind1": "SPS"},
    "GGIO4": {"AnIn1": "MVI", "Ind1": "SPS"},
    "GGIO5": {"Ind1": "SPS", "AnIn1": "MV"},
    "MMXU1": {"A": "WYE"},
    "MMTR1": {"TotWh": "BCR"},
    "PTOC1": {"Str": "ACD", "Op": "ACT"},
    "CSWI1": {"Pos": "DPC4"},
    "CSWI2": {"Pos": "DPC3"},
    "GGIO6": {"SPCSO1": "SPC1", "SPCSO2": "SPC2", "ISCSO1": "INC1"},
    "ATCC1": {"TapChg": "BSC1"},
}
SETS = {
    "count": [f"GGIO1.AnIn{n + 1}[MX]" for n in range(COUNTING)],
    "status": [
        f"{name}[ST]"
        for name in (
            *("GGIO2.Ind1", "GGIO2.Ind2", "GGIO2.IntIn1", "GGIO2.EnIn1", "GGIO2.Pos1", "MMTR1.TotWh", "PTOC1.Str"),
            *("PTOC1.Op", "CSWI1.Pos", "CSWI2.Pos", "GGIO6.SPCSO1", "GGIO6.SPCSO2", "GGIO6.ISCSO1", "ATCC1.TapChg"),
        )
    ],
    "parts": ["GGIO3.Ind1.stVal[ST]", "GGIO3.Ind1.q[ST]"],
    "measured": ["MMXU1.A[MX]", "GGIO4.AnIn1[MX]", "GGIO4.Ind1[ST]"],
}
BLOCKS = {"count": True, "status": True, "parts": True, "measured": False}


def split(node):
    cls = node.rstrip("0123456789")
    return cls, node[len(cls) :]


def fcda(member):
    path, fc = member[:-1].split("[")
    node, do, *rest = path.split(".")
    cls, inst = split(node)
    more = f' daName="{".".join(rest)}"' if rest else ""
    return f'<FCDA ldInst="LD0" lnClass="{cls}" lnInst="{inst}" doName="{do}"{more} fc="{fc}"/>'


def block(name, buffered):
    options = '<OptFields seqNum="true" timeStamp="true" reasonCode="true" entryID="true" bufOvfl="true"/>'
    on = '<TrgOps dchg="true" qchg="true" gi="true"/>'
    kind = "b" if buffered else "u"
    return (
        f'<ReportControl name="{kind}rcb{name}" rptID="{name}" datSet="{name}" confRev="1" bufTime="20" '
        f'buffered="{str(buffered).lower()}">{on}{options}<RptEnabled max="3"/></ReportControl>'
    )


def scd(nodes=NODES, sets=SETS, blocks=BLOCKS):
    """The text of the IED's file."""
    lns, types = "", ""
    for node, objects in nodes.items():
        cls, inst = split(node)
        doi = ""
        if "MVI" in objects.values():
            name = next(name for name, kind in objects.items() if kind == "MVI")
            values = "".join(
                f'<DAI name="{part}"><Val>{value}</Val></DAI>'
                for part, value in (("scaleFactor", 0.5), ("offset", 100))
            )
            doi = f'<DOI name="{name}"><SDI name="sVC">{values}</SDI></DOI>'
        lns += f'<LN lnClass="{cls}" inst="{inst}" lnType="{node}">{doi}</LN>'
        dos = "".join(f'<DO name="{name}" type="{kind}"/>' for name, kind in objects.items())
        types += f'<LNodeType id="{node}" lnClass="{cls}">{dos}</LNodeType>'
    made = "".join(f'<DataSet name="{name}">{"".join(map(fcda, each))}</DataSet>' for name, each in sets.items())
    reports = "".join(block(name, buffered) for name, buffered in blocks.items())
    enums = {
        "CtlModelKind": MODELS,
        "HealthKind": ("", "Ok", "Warning", "Alarm"),
        "DirKind": ("unknown", "forward", "backward", "both"),
        "OrCatKind": ("not-supported", "bay-control", "station-control", "remote-control"),
    }
    parts = [
        oper("Analogue", [bda("f", "FLOAT32")]),
        oper("AnalogueI", [bda("i", "INT32")]),
        oper("ScaledValueConfig", [bda("scaleFactor", "FLOAT32"), bda("offset", "FLOAT32")]),
        oper("Vector", [bda("mag", "Struct", "Analogue"), bda("ang", "Struct", "Analogue")]),
        oper("ValWithTrans", [bda("posVal", "INT8"), bda("transInd", "BOOLEAN")]),
        oper("Originator", [bda("orCat", "Enum", "OrCatKind"), bda("orIdent", "Octet64")]),
    ]
    for name, kind in {"Bool": ("BOOLEAN",), "Int": ("INT32",), "Tcmd": ("Tcmd",)}.items():
        parts += [oper(f"Oper{name}", order(kind)), oper(f"Cancel{name}", order(kind, cancel=True))]
    parts += [
        f'<EnumType id="{name}">'
        + "".join(f'<EnumVal ord="{n}">{each}</EnumVal>' for n, each in enumerate(values))
        + "</EnumType>"
        for name, values in enums.items()
    ]
    return f"""<?xml version="1.0"?>
<SCL xmlns="http://www.iec.ch/61850/2003/SCL" version="2007" revision="B" release="4"><Header id="foreign"/>
<IED name="{IED}"><AccessPoint name="P1"><Server><Authentication/><LDevice inst="LD0">
<LN0 lnClass="LLN0" inst="" lnType="LLN0">{made}{reports}</LN0>{lns}</LDevice></Server></AccessPoint></IED>
<DataTypeTemplates><LNodeType id="LLN0" lnClass="LLN0"><DO name="Beh" type="INS"/></LNodeType>{types}
{do_types()}{"".join(parts)}
</DataTypeTemplates></SCL>"""


SCL = parse(scd())


class Libiec61850:
    """libiec61850's server, driven by one thread."""

    def __init__(self, port):
        from ied_agents.mms.library import load
        from ied_agents.mms.server import MmsServer

        self.refusals = {}
        self.server = MmsServer(load(), SCL, IED, self)
        self.server.start("127.0.0.1", port)
        self.port = port
        self.lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            with self.lock:
                self.server.process()
            time.sleep(0.001)

    def check(self, request):
        asked = {name: getattr(request, name) for name in ("value", "select", "test", "orCat", "orIdent")}
        print(json.dumps({"asked": request.reference, **asked}), flush=True)
        return AddCause(self.refusals.get(request.reference.partition("/")[2]) or AddCause.NONE)

    def start(self, request):
        return AddCause.NONE

    def outcome(self, request):
        end = self.refusals.get("end " + request.reference.partition("/")[2], AddCause.NONE)
        return None if end == -1 else AddCause(end)

    def set(self, values):
        made = {}
        for name, leaves in values.items():
            for leaf, value in sorted(
                leaves.items(), key=lambda each: ("t", "q").index(each[0]) if each[0] in "qt" else 2
            ):
                made[f"LD0/{name}.{leaf}"] = UtcTime.from_ns(*value).encode() if leaf == "t" else value
        with self.lock:
            self.server.update(made)


def remembering(block):
    """It forgets the EntryID that a client has written if an event comes before the client enables the block.

    Here it does not: what is to be seen is what becomes of events that it has kept.
    """
    plain = block.set_attr

    def set_attr(name, value):
        if name != "EntryID" or block.enabled or block.owner is None:
            plain(name, value)

    return set_attr


class Open61850:
    """open61850's server: pure Python, shares no code with ours."""

    def __init__(self, port):
        from open61850.server import IedModel, MmsServer

        with tempfile.NamedTemporaryFile("w", suffix=".cid") as file:
            file.write(scd())
            file.flush()
            self.model = IedModel.from_scl(file.name, IED)
        self.refusals = {}
        self.server = MmsServer(self.model, "127.0.0.1", port, report_buffer_bytes=1 << 20)
        self.server.start()
        self.keep(20_000)
        for block in self.server.reports.controls.values():
            block.set_attr = remembering(block)
        self.port = self.server.port
        for node, objects in NODES.items():
            for name, kind in objects.items():
                if kind[-1].isdigit():
                    self.server.controls.set_check(f"{LD}/{node}.{name}", self._check(f"{node}.{name}"))

    def keep(self, entries):
        for block in self.server.reports.controls.values():
            block.max_entries = entries

    def _check(self, name):
        def check(command):
            orCat, orIdent = (member.value for member in command.origin.members)
            asked = {"asked": f"LD0/{name}", "test": command.test, "orCat": orCat, "orIdent": orIdent.decode()}
            print(json.dumps(asked), flush=True)
            return self.refusals.get(name) or None

        return check

    def set(self, values):
        from open61850.data import TimestampData

        with self.model.batch():
            for name, leaves in values.items():
                fc = "MX" if ".AnIn" in name or name.startswith("MMXU") else "ST"
                for leaf, value in leaves.items():
                    data = (
                        TimestampData(datetime.fromtimestamp(value[0] / 1e9, UTC), value[1]) if leaf == "t" else value
                    )
                    self.model.set(f"{LD}/{name}.{leaf}[{fc}]", data)


def main(kind, port, rate):
    ied = {"libiec61850": Libiec61850, "open61850": Open61850}[kind](int(port))
    print(ied.port, flush=True)
    stop = threading.Event()

    def count():
        made = 0
        while not stop.wait(1 / float(rate)):
            made += 1
            now_ns = time.time_ns()
            ied.set({f"GGIO1.AnIn{made % COUNTING + 1}": {"mag.f": float(made), "q": 0, "t": [now_ns, 10]}})
            print(made, flush=True)

    counting = threading.Thread(target=count, daemon=True)
    for line in sys.stdin:
        if line.strip() == "count":
            counting.start()
        elif line.strip() == "stop":
            stop.set()
            counting.join()
            print("stopped", flush=True)
        elif line.startswith("keep "):
            ied.keep(int(line[5:]))
        elif line.startswith("refuse "):
            name, cause = line[7:].rsplit(" ", 1)
            ied.refusals[name] = int(cause)
        else:
            ied.set(json.loads(line))
    os._exit(0)  # whoever started it is gone


if __name__ == "__main__":
    main(*sys.argv[1:])
