"""An IED: access points, servers, logical devices and nodes with their values (IEC 61850-6 clause 9.3)."""

# ruff: noqa: TC001  types of fields: the binding reads them at run time

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scl.binding import Described, Node, text
from scl.control_blocks import (
    DataSet,
    GSEControl,
    Inputs,
    Log,
    LogControl,
    ReportControl,
    SampledValueControl,
    SettingControl,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Val(Node):
    """A value, as written; ``sGroup`` is the setting group it belongs to."""

    value: str = text("")
    sGroup: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DAI(Described):
    """Value of a data attribute."""

    name: str
    ix: int | None = None
    sAddr: str = ""
    valKind: str = ""
    valImport: bool | None = None
    values: tuple[Val, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SDI(Described):
    """Values of a sub data object or of a structured attribute."""

    name: str
    ix: int | None = None
    sAddr: str = ""
    sdi: tuple[SDI, ...] = ()
    dai: tuple[DAI, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DOI(Described):
    """Values of a data object."""

    name: str
    ix: int | None = None
    accessControl: str = ""
    sdi: tuple[SDI, ...] = ()
    dai: tuple[DAI, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyLN(Described):
    """What LN0 and LN have in common."""

    lnClass: str
    lnType: str
    inst: str = ""
    datasets: tuple[DataSet, ...] = ()
    reports: tuple[ReportControl, ...] = ()
    log_controls: tuple[LogControl, ...] = ()
    doi: tuple[DOI, ...] = ()
    inputs: Inputs | None = None
    logs: tuple[Log, ...] = ()

    @property
    def name(self) -> str:
        """Prefix, class and instance, ``XCBR1``; ``LLN0`` for LN0."""
        return self.lnClass + self.inst

    def value(self, doName: str, *names: str) -> str | None:
        """First value given for an attribute, None where the instance gives none.

        Args:
            doName: data object.
            names: sub data objects, attribute and its components, in order.
        """
        node: DOI | SDI | None = next((doi for doi in self.doi if doi.name == doName), None)
        for name in names[:-1]:
            node = next((sdi for sdi in node.sdi if sdi.name == name), None) if node else None
        for dai in node.dai if node else ():
            if dai.name == names[-1]:
                return dai.values[0].value.strip() if dai.values else None
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SCLControl(Described):
    """SCL file transfer control of a logical device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LN0(AnyLN):
    """Logical node zero of a logical device."""

    gse_controls: tuple[GSEControl, ...] = ()
    sv_controls: tuple[SampledValueControl, ...] = ()
    setting_control: SettingControl | None = None
    scl_control: SCLControl | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LN(AnyLN):
    """A logical node."""

    prefix: str = ""

    @property
    def name(self) -> str:
        """Prefix, class and instance, ``XCBR1``."""
        return self.prefix + self.lnClass + self.inst


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessControl(Described):
    """Access rights, in the IED's own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LDevice(Described):
    """A logical device."""

    inst: str
    ldName: str = ""
    ln0: LN0
    lns: tuple[LN, ...] = ()
    access_control: AccessControl | None = None

    def nodes(self) -> Iterator[LN0 | LN]:
        """All logical nodes, LLN0 first."""
        yield self.ln0
        yield from self.lns

    def node(self, prefix: str, lnClass: str, lnInst: str) -> LN0 | LN | None:
        """The logical node of that name, None where there is none."""
        if lnClass == "LLN0" and not prefix:
            return self.ln0
        return next(
            (ln for ln in self.lns if ln.lnClass == lnClass and ln.inst == lnInst and ln.prefix == prefix),
            None,
        )

    def domain(self, iedName: str) -> str:
        """Name of the logical device in references and MMS: ``ldName``, else IED name and instance."""
        return self.ldName or iedName + self.inst


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication(Described):
    """Ways of authentication that a server offers."""

    none: bool = True
    password: bool = False
    weak: bool = False
    strong: bool = False
    certificate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Association(Described):
    """A preconfigured association."""

    kind: str
    iedName: str
    ldInst: str = ""
    prefix: str = ""
    lnClass: str = ""
    lnInst: str = ""
    associationID: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server(Described):
    """A server; ``timeout`` in s."""

    timeout: int = 30
    authentication: Authentication | None = None
    ldevices: tuple[LDevice, ...] = ()
    associations: tuple[Association, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAt(Described):
    """The server of another access point of the same IED, offered here too."""

    apName: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Services(Described):
    """Services of an IED or an access point; what each may do is in ``element``."""

    nameLength: int = 32

    def limit(self, service: str, attribute: str = "max") -> int | None:
        """Limit of a service (``ConfDataSet``, ``GOOSE``), None where none is stated."""
        for child in self.element.elements():
            if child.local == service:
                value = child.attributes.get(attribute, "")
                return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject(Node):
    """Whom a certificate is for."""

    commonName: str = ""
    idHierarchy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerName(Subject):
    """Who issued a certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GOOSESecurity(Described):
    """Certificate for GOOSE."""

    name: str = ""
    xferNumber: int | None = None
    serialNumber: str = ""
    subject: Subject | None = None
    issuer: IssuerName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SMVSecurity(GOOSESecurity):
    """Certificate for sampled values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPoint(Described):
    """An access point, with a server or with client logical nodes."""

    name: str
    router: bool = False
    clock: bool = False
    kdc: bool = False
    server: Server | None = None
    server_at: tuple[ServerAt, ...] = ()
    services: Services | None = None
    lns: tuple[LN, ...] = ()
    goose_security: tuple[GOOSESecurity, ...] = ()
    smv_security: tuple[SMVSecurity, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KDC(Node):
    """The key distribution centre that an IED uses."""

    iedName: str
    apName: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IED(Described):
    """An intelligent electronic device."""

    name: str
    type: str = ""
    manufacturer: str = ""
    configVersion: str = ""
    originalSclVersion: str = ""
    originalSclRevision: str = ""
    originalSclRelease: str = ""
    engRight: str = "full"
    owner: str = ""
    services: Services | None = None
    access_points: tuple[AccessPoint, ...] = ()
    kdc: tuple[KDC, ...] = ()

    def ldevices(self) -> Iterator[tuple[AccessPoint, LDevice]]:
        """All logical devices with the access point of their server."""
        for access_point in self.access_points:
            if access_point.server is not None:
                for ldevice in access_point.server.ldevices:
                    yield access_point, ldevice

    def ldevice(self, inst: str) -> LDevice | None:
        """The logical device of that instance, None where there is none."""
        return next((ldevice for _, ldevice in self.ldevices() if ldevice.inst == inst), None)
