"""The primary system: Substation, Line and Process with their equipment (IEC 61850-6 clause 9.2)."""

from __future__ import annotations

from dataclasses import dataclass

from scl.binding import Described, text

NO_IED = "None"
"""Value of ``LNode.iedName`` before a logical node is given to an IED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LNode(Described):
    """Link from a piece of the primary system to a logical node of an IED."""

    lnClass: str
    iedName: str = NO_IED
    ldInst: str = ""
    prefix: str = ""
    lnInst: str = ""
    lnType: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voltage(Described):
    """Nominal voltage; ``value`` is in ``multiplier`` and ``unit``."""

    value: float = text(0.0)
    unit: str = "V"
    multiplier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal(Described):
    """Where a piece of equipment hangs on a connectivity node, named by its path or step by step."""

    name: str = ""
    connectivityNode: str = ""
    substationName: str = ""
    voltageLevelName: str = ""
    bayName: str = ""
    lineName: str = ""
    processName: str = ""
    cNodeName: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeutralPoint(Terminal):
    """The star point of a transformer winding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectivityNode(Described):
    """Where terminals meet."""

    name: str
    pathName: str = ""
    lnodes: tuple[LNode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EqSubFunction(Described):
    """Part of a function of one piece of equipment."""

    name: str
    type: str = ""
    lnodes: tuple[LNode, ...] = ()
    general_equipment: tuple[GeneralEquipment, ...] = ()
    sub_functions: tuple[EqSubFunction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EqFunction(Described):
    """Function of one piece of equipment."""

    name: str
    type: str = ""
    lnodes: tuple[LNode, ...] = ()
    general_equipment: tuple[GeneralEquipment, ...] = ()
    sub_functions: tuple[EqSubFunction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneralEquipment(Described):
    """Equipment that is not part of the conducting network."""

    name: str
    type: str = ""
    virtual: bool = False
    lnodes: tuple[LNode, ...] = ()
    functions: tuple[EqFunction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SubEquipment(Described):
    """Part of a piece of equipment, usually one phase of it."""

    name: str
    phase: str = "none"
    virtual: bool = False
    lnodes: tuple[LNode, ...] = ()
    functions: tuple[EqFunction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConductingEquipment(Described):
    """Equipment with one or two terminals; ``type`` is CBR, DIS, LIN, CAB, IFL, CTR, VTR and so on."""

    name: str
    type: str
    virtual: bool = False
    terminals: tuple[Terminal, ...] = ()
    lnodes: tuple[LNode, ...] = ()
    sub_equipment: tuple[SubEquipment, ...] = ()
    functions: tuple[EqFunction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TapChanger(Described):
    """Tap changer of a winding."""

    name: str
    type: str = "LTC"
    virtual: bool = False
    lnodes: tuple[LNode, ...] = ()
    sub_equipment: tuple[SubEquipment, ...] = ()
    functions: tuple[EqFunction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerWinding(Described):
    """One winding of a transformer."""

    name: str
    type: str = "PTW"
    virtual: bool = False
    terminals: tuple[Terminal, ...] = ()
    neutral_points: tuple[NeutralPoint, ...] = ()
    tap_changer: TapChanger | None = None
    lnodes: tuple[LNode, ...] = ()
    sub_equipment: tuple[SubEquipment, ...] = ()
    functions: tuple[EqFunction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerTransformer(Described):
    """Transformer with its windings."""

    name: str
    type: str = "PTR"
    virtual: bool = False
    windings: tuple[TransformerWinding, ...] = ()
    lnodes: tuple[LNode, ...] = ()
    sub_equipment: tuple[SubEquipment, ...] = ()
    functions: tuple[EqFunction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SubFunction(Described):
    """Part of a function."""

    name: str
    type: str = ""
    lnodes: tuple[LNode, ...] = ()
    conducting_equipment: tuple[ConductingEquipment, ...] = ()
    general_equipment: tuple[GeneralEquipment, ...] = ()
    sub_functions: tuple[SubFunction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Function(Described):
    """Function of a bay, voltage level, substation, line or process."""

    name: str
    type: str = ""
    lnodes: tuple[LNode, ...] = ()
    conducting_equipment: tuple[ConductingEquipment, ...] = ()
    general_equipment: tuple[GeneralEquipment, ...] = ()
    sub_functions: tuple[SubFunction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Container(Described):
    """What all containers of equipment hold."""

    name: str
    lnodes: tuple[LNode, ...] = ()
    functions: tuple[Function, ...] = ()
    general_equipment: tuple[GeneralEquipment, ...] = ()
    transformers: tuple[PowerTransformer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bay(Container):
    """Bay: the equipment of one feeder, coupler or busbar."""

    conducting_equipment: tuple[ConductingEquipment, ...] = ()
    connectivity_nodes: tuple[ConnectivityNode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VoltageLevel(Container):
    """The bays of one nominal voltage."""

    nomFreq: float | None = None
    numPhases: int | None = None
    voltage: Voltage | None = None
    bays: tuple[Bay, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Substation(Container):
    """A substation."""

    voltage_levels: tuple[VoltageLevel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(Container):
    """A line between substations, with the equipment along it."""

    type: str = ""
    nomFreq: float | None = None
    numPhases: int | None = None
    voltage: Voltage | None = None
    conducting_equipment: tuple[ConductingEquipment, ...] = ()
    connectivity_nodes: tuple[ConnectivityNode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Process(Container):
    """A process that is no substation; may hold substations and lines."""

    type: str = ""
    conducting_equipment: tuple[ConductingEquipment, ...] = ()
    connectivity_nodes: tuple[ConnectivityNode, ...] = ()
    substations: tuple[Substation, ...] = ()
    lines: tuple[Line, ...] = ()
    processes: tuple[Process, ...] = ()
