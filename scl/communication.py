"""The Communication section: subnetworks, access points on them, addresses (IEC 61850-6 clause 9.4)."""

from __future__ import annotations

from dataclasses import dataclass

from scl.binding import Described, Node, text


@dataclass(frozen=True, slots=True, kw_only=True)
class P(Node):
    """One address parameter; ``value`` as written."""

    type: str
    value: str = text("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address(Described):
    """Address parameters by type."""

    parameters: tuple[P, ...] = ()

    def get(self, kind: str) -> P | None:
        """The parameter of a type (``IP``, ``MAC-Address``, ...), None where it is absent."""
        return next((p for p in self.parameters if p.type == kind), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysConn(Described):
    """Physical connection of an access point."""

    type: str = ""
    parameters: tuple[P, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MinTime(Node):
    """Shortest repetition gap of a GOOSE stream, by default in ms."""

    value: float = text(0.0)
    unit: str = "s"
    multiplier: str = "m"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxTime(Node):
    """Longest repetition gap of a GOOSE stream, by default in ms."""

    value: float = text(0.0)
    unit: str = "s"
    multiplier: str = "m"


@dataclass(frozen=True, slots=True, kw_only=True)
class GSE(Described):
    """Address of a GOOSE control block."""

    ldInst: str
    cbName: str
    address: Address | None = None
    min_time: MinTime | None = None
    max_time: MaxTime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SMV(Described):
    """Address of a sampled value control block."""

    ldInst: str
    cbName: str
    address: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedAP(Described):
    """An access point of an IED on a subnetwork."""

    iedName: str
    apName: str
    redProt: str = ""
    address: Address | None = None
    gse: tuple[GSE, ...] = ()
    smv: tuple[SMV, ...] = ()
    physical: tuple[PhysConn, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BitRate(Node):
    """Rate of a subnetwork in ``multiplier`` and ``unit``."""

    value: float = text(0.0)
    unit: str = "b/s"
    multiplier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubNetwork(Described):
    """What is connected without a router between."""

    name: str
    type: str = ""
    bit_rate: BitRate | None = None
    connected: tuple[ConnectedAP, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Communication(Described):
    """All subnetworks."""

    subnetworks: tuple[SubNetwork, ...] = ()
