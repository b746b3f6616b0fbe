"""Data sets, control blocks and inputs of a logical node (IEC 61850-6 clauses 9.3.7 to 9.3.13)."""

from __future__ import annotations

from dataclasses import dataclass

from scl.binding import Described, Node, text


@dataclass(frozen=True, slots=True, kw_only=True)
class FCDA(Node):
    """A member of a data set: a data object, or an attribute of one, with its functional constraint.

    Attributes:
        doName: with the names of sub data objects after a point, ``PhV.phsA``.
        daName: with the names of components after a point, ``cVal.mag.f``; empty for the whole data object.
        ix: element of an array, None for all of it.
    """

    fc: str
    ldInst: str = ""
    prefix: str = ""
    lnClass: str = ""
    lnInst: str = ""
    doName: str = ""
    daName: str = ""
    ix: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet(Described):
    """A data set."""

    name: str
    members: tuple[FCDA, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IEDName(Node):
    """A subscriber of a control block."""

    value: str = text()
    apRef: str = ""
    ldInst: str = ""
    prefix: str = ""
    lnClass: str = ""
    lnInst: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GSEControl(Described):
    """GOOSE control block; ``appID`` is what GOOSE frames call goID."""

    name: str
    appID: str = ""
    datSet: str = ""
    confRev: int | None = None
    type: str = "GOOSE"
    fixedOffs: bool = False
    securityEnable: str = "None"
    subscribers: tuple[IEDName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SmvOpts(Node):
    """Which optional fields a sampled value stream carries."""

    refreshTime: bool = False
    sampleSynchronized: bool = True
    sampleRate: bool = False
    dataSet: bool = False
    security: bool = False
    timestamp: bool = False
    synchSourceId: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledValueControl(Described):
    """Sampled value control block."""

    name: str
    smvID: str = ""
    datSet: str = ""
    confRev: int | None = None
    smpRate: int = 0
    nofASDU: int = 1
    multicast: bool = True
    smpMod: str = "SmpPerPeriod"
    securityEnable: str = "None"
    options: SmvOpts | None = None
    subscribers: tuple[IEDName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrgOps(Node):
    """What makes a report or log entry."""

    dchg: bool = False
    qchg: bool = False
    dupd: bool = False
    period: bool = False
    gi: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OptFields(Node):
    """Which optional fields a report carries."""

    seqNum: bool = False
    timeStamp: bool = False
    dataSet: bool = False
    reasonCode: bool = False
    dataRef: bool = False
    entryID: bool = False
    configRef: bool = False
    bufOvfl: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLN(Node):
    """A client that a report control block is reserved for."""

    iedName: str
    lnClass: str
    ldInst: str = ""
    prefix: str = ""
    lnInst: str = ""
    apRef: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RptEnabled(Described):
    """Instances of a report control block and their clients."""

    max: int = 1
    clients: tuple[ClientLN, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportControl(Described):
    """Report control block; ``bufTime`` and ``intgPd`` in ms."""

    name: str
    rptID: str = ""
    datSet: str = ""
    confRev: int | None = None
    buffered: bool = False
    bufTime: int = 0
    intgPd: int = 0
    indexed: bool = True
    triggers: TrgOps | None = None
    options: OptFields | None = None
    enabled: RptEnabled | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogControl(Described):
    """Log control block; ``intgPd`` and ``bufTime`` in ms."""

    name: str
    logName: str = ""
    datSet: str = ""
    ldInst: str = ""
    prefix: str = ""
    lnClass: str = "LLN0"
    lnInst: str = ""
    logEna: bool = True
    reasonCode: bool = True
    bufTime: int = 0
    intgPd: int = 0
    triggers: TrgOps | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingControl(Described):
    """Setting groups of a logical device."""

    numOfSGs: int
    actSG: int = 1
    resvTms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Described):
    """A log of the logical node."""

    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtRef(Described):
    """An input from another IED, or a place for one (``pDO``, ``pLN`` and so on, with no ``iedName``).

    ``srcCBName`` names the control block from Edition 2 on; Edition 1 names the data alone.
    """

    iedName: str = ""
    ldInst: str = ""
    prefix: str = ""
    lnClass: str = ""
    lnInst: str = ""
    doName: str = ""
    daName: str = ""
    intAddr: str = ""
    serviceType: str = ""
    srcLDInst: str = ""
    srcPrefix: str = ""
    srcLNClass: str = ""
    srcLNInst: str = ""
    srcCBName: str = ""
    pServT: str = ""
    pLN: str = ""
    pDO: str = ""
    pDA: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs(Described):
    """Inputs of a logical node."""

    extrefs: tuple[ExtRef, ...] = ()
