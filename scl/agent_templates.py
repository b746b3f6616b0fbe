"""DataTypeTemplates of a flisr agent as SCL text, made from ``agent_model``."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Final

from scl import agent_model
from scl.agent_model import DATA_NAME_SPACE, Attribute, Member
from scl.document import escape_text

TYPE_PREFIX: Final = "flisr_"
SWITCH_CLASSES: Final = {"breaker": "XCBR", "load_break": "XSWI"}

_ENUMERATIONS: Final[dict[tuple[str, ...], str]] = {
    agent_model.DIRECTION: "FaultDirectionKind",
    agent_model.BEHAVIOUR: "BehaviourModeKind",
    agent_model.ANSWER: TYPE_PREFIX + "AnswerKind",
    agent_model.VOLTAGE: TYPE_PREFIX + "VoltageKind",
    agent_model.SECTION_STATE: TYPE_PREFIX + "SectionStateKind",
    agent_model.LOCK_STATE: TYPE_PREFIX + "LockStateKind",
    agent_model.PROGRESS: TYPE_PREFIX + "ProgressKind",
    agent_model.REASON: TYPE_PREFIX + "ReasonKind",
    agent_model.CLAIM_KIND: TYPE_PREFIX + "ClaimKind",
    ("", "Ok", "Warning", "Alarm"): "HealthKind",
    ("", "Load Break", "Disconnector", "Earthing Switch", "High Speed Earthing Switch"): "SwitchFunctionKind",
    (
        "status-only",
        "direct-with-normal-security",
        "sbo-with-normal-security",
        "direct-with-enhanced-security",
        "sbo-with-enhanced-security",
    ): "CtlModelKind",
    (
        "not-supported",
        "bay-control",
        "station-control",
        "remote-control",
        "automatic-bay",
        "automatic-station",
        "automatic-remote",
        "maintenance",
        "process",
    ): "OriginatorCategoryKind",
    ("InternalClock", "LocalAreaClock", "GlobalAreaClock"): TYPE_PREFIX + "TmSynKind",
}
_LITERALS: Final = {name: literals for literals, name in _ENUMERATIONS.items()}


@dataclass(frozen=True, slots=True)
class _DA:
    name: str
    fc: str
    bType: str
    type: str = ""
    value: str = ""
    count: int = 0
    trigger: str = ""


def _status(bType: str, type_name: str = "", value: str = "") -> tuple[_DA, ...]:
    return (
        _DA("stVal", "ST", bType, type_name, value, trigger="dchg"),
        _DA("q", "ST", "Quality", trigger="qchg"),
        _DA("t", "ST", "Timestamp"),
    )


def _text(name: str, value: str = "", fc: str = "DC") -> _DA:
    return _DA(name, fc, "VisString255", value=value)


_ORIGIN: Final = TYPE_PREFIX + "Originator"
_OPER: Final = TYPE_PREFIX + "Oper"
_CANCEL: Final = TYPE_PREFIX + "Cancel"
_MAGNITUDE: Final = TYPE_PREFIX + "Magnitude"
_OPER_MODE: Final = TYPE_PREFIX + "OperMode"
_COMMAND: Final = (
    _DA("ctlVal", "", "BOOLEAN"),
    _DA("origin", "", "Struct", _ORIGIN),
    _DA("ctlNum", "", "INT8U"),
    _DA("T", "", "Timestamp"),
    _DA("Test", "", "BOOLEAN"),
)
_STRUCTURES: Final = {
    _MAGNITUDE: (_DA("f", "", "FLOAT32"),),
    _ORIGIN: (_DA("orCat", "", "Enum", "OriginatorCategoryKind"), _DA("orIdent", "", "Octet64")),
    _OPER: (*_COMMAND, _DA("Check", "", "Check")),
    _CANCEL: _COMMAND,
    _OPER_MODE: (
        _DA("ctlVal", "", "Enum", "BehaviourModeKind"),
        *_COMMAND[1:],
        _DA("Check", "", "Check"),
    ),
}
"""Standard structures, of what selects and operates (IEC 61850-8-1 clause 20)."""
_CONTROL_MODEL: Final = _DA("ctlModel", "CF", "Enum", "CtlModelKind", "status-only")
_GENERAL: Final = _DA("general", "ST", "BOOLEAN", trigger="dchg")
_DIRECTION: Final = _DA("dirGeneral", "ST", "Enum", "FaultDirectionKind", trigger="dchg")
_QUALITY_AND_TIME: Final = _status("BOOLEAN")[1:]
_PLATE: Final = (_text("vendor", "flisr"), _text("swRev"), _text("d"))

_STANDARD: Final[dict[str, tuple[str, tuple[_DA, ...]]]] = {
    "Mod": (
        "ENC",
        (
            _DA("Oper", "CO", "Struct", _OPER_MODE),
            *_status("Enum", "BehaviourModeKind"),
            _DA("ctlModel", "CF", "Enum", "CtlModelKind", "direct-with-normal-security"),
        ),
    ),
    "Beh": ("ENS", _status("Enum", "BehaviourModeKind")),
    "Health": ("ENS", _status("Enum", "HealthKind")),
    "SPS": ("SPS", _status("BOOLEAN")),
    "SPC": ("SPC", (*_status("BOOLEAN"), _CONTROL_MODEL)),
    "Sim": (
        "SPC",
        (
            _DA("Oper", "CO", "Struct", _OPER),
            *_status("BOOLEAN"),
            _DA("ctlModel", "CF", "Enum", "CtlModelKind", "direct-with-normal-security"),
        ),
    ),
    "INS": ("INS", _status("INT32")),
    "MV": (
        "MV",
        (
            _DA("mag", "MX", "Struct", _MAGNITUDE, trigger="dchg"),
            _DA("q", "MX", "Quality", trigger="qchg"),
            _DA("t", "MX", "Timestamp"),
        ),
    ),
    "Pos": ("DPC", (*_status("Dbpos"), _CONTROL_MODEL)),
    "Operated": (
        "DPC",
        (
            _DA("SBOw", "CO", "Struct", _OPER),
            _DA("Oper", "CO", "Struct", _OPER),
            _DA("Cancel", "CO", "Struct", _CANCEL),
            _DA("origin", "ST", "Struct", _ORIGIN),
            _DA("ctlNum", "ST", "INT8U"),
            *_status("Dbpos"),
            _DA("stSeld", "ST", "BOOLEAN", trigger="dchg"),
            _DA("ctlModel", "CF", "Enum", "CtlModelKind", "sbo-with-enhanced-security"),
            _DA("sboTimeout", "CF", "INT32U", value="30000"),
        ),
    ),
    "ORG": ("ORG", (_DA("setSrcRef", "SP", "ObjRef"),)),
    "VSS": ("VSS", _status("VisString255")),
    "TmSyn": ("ENS", _status("Enum", TYPE_PREFIX + "TmSynKind")),
    "Stage": ("ENS", _status("Enum", TYPE_PREFIX + "ProgressKind")),
    "SwTyp": ("ENS", _status("Enum", "SwitchFunctionKind", "Load Break")),
    "ACD": ("ACD", (_GENERAL, _DIRECTION, *_QUALITY_AND_TIME)),
    "ACT": ("ACT", (_GENERAL, *_QUALITY_AND_TIME)),
    "DPL": ("DPL", (_text("vendor", "flisr"),)),
    "LPL": ("LPL", _PLATE),
    "LPL0": ("LPL", (*_PLATE, _text("configRev", "1"), _text("ldNs", "IEC 61850-7-4:2007B4", "EX"))),
    "LPLA": ("LPL", (*_PLATE, _text("lnNs", DATA_NAME_SPACE, "EX"))),
    "SwNum": ("ING", (_DA("setVal", "SP", "INT32"), _text("dataNs", DATA_NAME_SPACE, "EX"))),
}
"""Standard data object types: common data class and attributes."""

_BEHAVIOUR: Final = (("Beh", "Beh"),)
_LNODES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "LLN0": (("Mod", "Mod"), *_BEHAVIOUR, ("Health", "Health"), ("NamPlt", "LPL0"), ("Loc", "SPS")),
    "LPHD": (("PhyNam", "DPL"), ("PhyHealth", "Health"), ("Proxy", "SPS"), ("Sim", "Sim")),
    "XCBR": (
        *_BEHAVIOUR,
        ("Loc", "SPS"),
        ("OpCnt", "INS"),
        ("Pos", "Pos"),
        ("BlkOpn", "SPC"),
        ("BlkCls", "SPC"),
    ),
    "XSWI": (
        *_BEHAVIOUR,
        ("Loc", "SPS"),
        ("OpCnt", "INS"),
        ("Pos", "Pos"),
        ("BlkOpn", "SPC"),
        ("BlkCls", "SPC"),
        ("SwTyp", "SwTyp"),
    ),
    "CSWI": (*_BEHAVIOUR, ("Loc", "SPS"), ("Pos", "Operated"), ("OpOpn", "ACT"), ("OpCls", "ACT")),
    "PTOC": (*_BEHAVIOUR, ("Str", "ACD"), ("Op", "ACT")),
    "PTRC": (*_BEHAVIOUR, ("Tr", "ACT")),
    "RBRF": (*_BEHAVIOUR, ("OpEx", "ACT")),
    "LTMS": (*_BEHAVIOUR, ("TmAcc", "INS"), ("TmSrc", "VSS"), ("TmSyn", "TmSyn")),
    "LGOS": (
        *_BEHAVIOUR,
        ("St", "SPS"),
        ("SimSt", "SPS"),
        ("LastStNum", "INS"),
        ("ConfRevNum", "INS"),
        ("RxConfRevNum", "INS"),
        ("GoCBRef", "ORG"),
    ),
    "AFSR": (
        *_BEHAVIOUR,
        ("NamPlt", "LPLA"),
        ("SwNum", "SwNum"),
        *((name, "SPS") for name in agent_model.INDICATIONS),
        ("Stage", "Stage"),
    ),
    "PIOC": (*_BEHAVIOUR, ("Str", "ACD"), ("Op", "ACT")),
    "MMXU": (*_BEHAVIOUR, ("AvAPhs", "MV"), ("AvPPVPhs", "MV"), ("TotW", "MV")),
}
"""Data objects of each logical node class with their standard type; AFSR gets those of ``agent_model``
besides."""

_OF_RELAYS: Final = frozenset(("PIOC", "MMXU"))
"""Classes that simulated relays have and agents do not."""


@dataclass(slots=True)
class _Private:
    """Types that ``agent_model`` asks for, collected."""

    objects: dict[str, list[_DA]] = field(default_factory=dict)  # attributes by data object
    structures: dict[str, tuple[Attribute, ...]] = field(default_factory=dict)  # components by DAType

    def add(self, member: Member) -> None:
        attributes = self.objects.setdefault(member.do, [])
        if member.structured:
            name = f"{TYPE_PREFIX}{member.do}_{member.da}"
            self.structures[name] = member.attributes
            attributes.append(_DA(member.da, member.fc, "Struct", name, count=member.count, trigger="dchg"))
        else:
            (attribute,) = member.attributes
            trigger = "qchg" if attribute.bType == "Quality" else "dchg"
            kind = _ENUMERATIONS.get(attribute.literals, "")
            attributes.append(_DA(member.da, member.fc, attribute.bType, kind, "", member.count, trigger))


@cache
def data_type_templates(switch_classes: tuple[str, ...] = ("XCBR", "XSWI"), *, relays: bool = False) -> str:
    """The ``DataTypeTemplates`` element with all types that agents of these switch classes, and relays, use."""
    private = _Private()
    for member in (*agent_model.FAST, *agent_model.SLOW):
        if member.ln == "AFSR1" and all(da.name != member.da for da in private.objects.get(member.do, ())):
            private.add(member)
    left_out = {"XCBR", "XSWI"} - set(switch_classes)
    if not relays:
        left_out |= _OF_RELAYS
    lnodes = {name: objects for name, objects in _LNODES.items() if name not in left_out}
    parts = ["  <DataTypeTemplates>"]
    for lnClass, objects in lnodes.items():
        parts.append(f'    <LNodeType id="{TYPE_PREFIX}{lnClass}" lnClass="{lnClass}">')
        parts.extend(f'      <DO name="{name}" type="{TYPE_PREFIX}{kind}"/>' for name, kind in objects)
        if lnClass == "AFSR":
            parts.extend(f'      <DO name="{name}" type="{TYPE_PREFIX}AFSR_{name}"/>' for name in private.objects)
        parts.append("    </LNodeType>")
    used = {kind for objects in lnodes.values() for _, kind in objects}
    do_types = {TYPE_PREFIX + name: entry for name, entry in _STANDARD.items() if name in used}
    for name, attributes in private.objects.items():
        # The schema of Edition 2.1 knows no private classes: the nearest standard one is named, and these say
        # which it is in truth.
        own = (
            _text("cdcNs", DATA_NAME_SPACE, "EX"),
            _text("cdcName", name, "EX"),
            _text("dataNs", DATA_NAME_SPACE, "EX"),
        )
        measured = any(da.fc == "MX" for da in attributes)
        when = _DA("t", "MX" if measured else "ST", "Timestamp")
        do_types[f"{TYPE_PREFIX}AFSR_{name}"] = ("MV" if measured else "INS", (*attributes, when, *own))
    for name, (cdc, attributes_of) in do_types.items():
        parts.append(f'    <DOType id="{name}" cdc="{cdc}">')
        parts.extend(_attribute("DA", da) for da in attributes_of)
        parts.append("    </DOType>")
    for name, components in private.structures.items():
        parts.append(f'    <DAType id="{name}">')
        parts.extend(
            _attribute("BDA", _DA(part.name, "", part.bType, _ENUMERATIONS.get(part.literals, "")))
            for part in components
        )
        parts.append("    </DAType>")
    structures = {name: parts_of for name, parts_of in _STRUCTURES.items() if relays or name != _MAGNITUDE}
    for name, components_of in structures.items():
        parts.append(f'    <DAType id="{name}">')
        parts.extend(_attribute("BDA", component) for component in components_of)
        parts.append("    </DAType>")
    enumerations = {da.type for components_of in _STRUCTURES.values() for da in components_of if da.bType == "Enum"}
    enumerations |= {da.type for _, attributes_of in do_types.values() for da in attributes_of if da.bType == "Enum"}
    enumerations |= {
        _ENUMERATIONS[part.literals]
        for components in private.structures.values()
        for part in components
        if part.literals
    }
    for name in sorted(enumerations):
        parts.append(f'    <EnumType id="{name}">')
        parts.extend(
            f'      <EnumVal ord="{ordinal}">{escape_text(literal)}</EnumVal>'
            for ordinal, literal in enumerate(_LITERALS[name])
            if literal
        )
        parts.append("    </EnumType>")
    parts.append("  </DataTypeTemplates>")
    return "\n".join(parts) + "\n"


def _attribute(tag: str, da: _DA) -> str:
    parts = [f'      <{tag} name="{da.name}"']
    if da.fc:
        parts.append(f' fc="{da.fc}"')
    if da.trigger:
        parts.append(f' {da.trigger}="true"')
    parts.append(f' bType="{da.bType}"')
    if da.type:
        parts.append(f' type="{da.type}"')
    if da.count:
        parts.append(f' count="{da.count}"')
    if da.fc in {"DC", "EX", "CF"} and da.value:
        parts.append(' valKind="RO"')
    if not da.value:
        return "".join(parts) + "/>"
    return f"{''.join(parts)}><Val>{escape_text(da.value)}</Val></{tag}>"
