"""The interoperability list of IEC 60870-5-104:2006, clause 9, made of what a centre or field device is configured to.

Which types and causes are used follows from the point list, from the image made of it, and from what the stations
serve; nothing of it is written down a second time. Marks are the standard's: ``X`` used, empty not used; what
the standard itself strikes out for 104 is struck out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.iec104.asdu import COMMANDS, DEFAULT_SIZES, LONGEST_ASDU, Cause, Sizes, TypeID, tag_of, untagged
from gateway.iec104.client import Reach
from gateway.iec104.image import GENERAL_COUNTERS, STATION, Image, Monitored
from gateway.iec104.station import PARAMETERS, SERVED_CAUSES
from gateway.iec104.time_tag import CP24Time2a

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.iec104.link import LinkConfig
    from gateway.iec104.time_tag import TimeBase
    from gateway.site_iec104 import ServedCentre
    from gateway.site_rtu import RtuOfSite

_APCI: Final = 4
"""Octets of an APDU that its length counts beside the ASDU."""
_DECIDED: Final = frozenset((TypeID.C_CS_NA_1, TypeID.C_RP_NA_1, TypeID.P_ME_NA_1, TypeID.P_ME_NB_1, TypeID.P_ME_NC_1))
"""Served, but what becomes of them the device decides; none that we have does anything but refuse."""
_TERMINATED: Final = COMMANDS | {TypeID.C_IC_NA_1, TypeID.C_CI_NA_1}
_CONFIRMED_BY: Final = {
    Cause.ACTIVATION: Cause.ACTIVATION_CON,
    Cause.DEACTIVATION: Cause.DEACTIVATION_CON,
}
_SET_POINTS: Final = frozenset((TypeID.C_SE_NA_1, TypeID.C_SE_NB_1, TypeID.C_SE_NC_1))
_QUALIFIERS: Final = (
    "No additional definition",
    "Short-pulse duration",
    "Long-pulse duration",
    "Persistent output",
)
_NOT_IN_104: Final = frozenset((TypeID.C_TS_NA_1, TypeID.C_CD_NA_1))
_FILE_TYPES: Final = {
    120: "F_FR_NA_1", 121: "F_SR_NA_1", 122: "F_SC_NA_1", 123: "F_LS_NA_1", 124: "F_AF_NA_1", 125: "F_SG_NA_1",
    126: "F_DR_TA_1", 127: "F_SC_NB_1",
}  # fmt: skip
"""Of the standard; we have no such ASDU."""
_LINES: Final = (
    ("Process information in monitor direction", 1, 40),
    ("Process information in control direction", 45, 64),
    ("System information in monitor direction", 70, 70),
    ("System information in control direction", 100, 107),
    ("Parameter in control direction", 110, 113),
)


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the list.

    Attributes:
        text: as in the standard.
        used: whether it is marked.
        struck: the standard does not allow it in 104.
        value: of a parameter; empty for none.
    """

    text: str
    used: bool = False
    struck: bool = False
    value: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a subclause."""

    clause: str
    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Interoperability:
    """The whole list.

    Attributes:
        title: whose it is.
        sections: all but the matrix.
        matrix: causes by type.
        refused: types in control direction that are not used, and the cause of the negative answer; only of a
            controlled station.
    """

    title: str
    sections: tuple[Section, ...]
    matrix: dict[TypeID, frozenset[int]]
    refused: dict[TypeID, Cause] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "title": self.title,
            "sections": [
                {
                    "clause": section.clause,
                    "title": section.title,
                    "items": [
                        {"text": item.text, "used": item.used, "not_in_104": item.struck, "value": item.value}
                        for item in section.items
                    ],
                }
                for section in self.sections
            ],
            "causes": {typeID.name: sorted(causes) for typeID, causes in sorted(self.matrix.items())},
            "refused": {typeID.name: int(cause) for typeID, cause in sorted(self.refused.items())},
        }

    def markdown(self) -> str:
        """For people."""
        lines = [f"# {self.title}", "", _INTRODUCTION]
        clause = ""
        for section in self.sections:
            if section.clause != clause:
                clause = section.clause
                lines += ["", f"## {clause} {_CLAUSES[clause]}"]
            lines += ["", f"**{section.title}**", ""]
            for item in section.items:
                text = f"~~{item.text}~~" if item.struck else item.text
                lines.append(f"- [{'X' if item.used else ' '}] {text}" + (f": {item.value}" if item.value else ""))
            if (section.clause, section.title) == _LAST_SELECTION:
                lines += ["", *self._matrix()]
        return "\n".join(lines) + "\n"

    def _matrix(self) -> list[str]:
        single = [*range(1, 14), 44, 45, 46, 47]
        head = [*map(str, single[:13]), "20 to 36", "37 to 41", *map(str, single[13:])]
        lines = [
            "**Type identification and cause of transmission assignments**",
            "",
            f"| type | {' | '.join(head)} |",
            f"|---|{'---|' * len(head)}",
        ]
        for typeID, causes in sorted(self.matrix.items()):
            cells = ["X" if cause in causes else "" for cause in single]
            ranges = [_ranges(c for c in causes if low <= c <= high) for low, high in ((20, 36), (37, 41))]
            cells[13:13] = ranges
            lines.append(f"| <{typeID:d}> {typeID.name} | {' | '.join(cells)} |")
        if self.refused:
            lines += ["", "Types in control direction that are not used, and the cause of the negative answer:", ""]
            lines += [
                f"- <{typeID:d}> {typeID.name}: {cause:d} {cause.name.lower().replace('_', ' ')}"
                for typeID, cause in sorted(self.refused.items())
            ]
            lines += ["", "Any other type, those of file transfer among them, is answered with cause 44."]
        return lines


_INTRODUCTION: Final = (
    "Made from the site file by `flisr 104 interoperability`. [X] is used, [ ] is not; what the standard excludes "
    "from 104 is struck out."
)
_CLAUSES: Final = {
    "9.1": "System or device",
    "9.2": "Network configuration",
    "9.3": "Physical layer",
    "9.4": "Link layer",
    "9.5": "Application layer",
    "9.6": "Basic application functions",
}
_LAST_SELECTION: Final = ("9.5", "File transfer")


def of_centre(centre: ServedCentre) -> Interoperability:
    """What a control centre can expect of us as its controlled station."""
    rows = centre.config.rows
    settings = centre.config.station
    matrix: dict[TypeID, set[int]] = {TypeID.M_EI_NA_1: {Cause.INITIALISED}}
    monitored = [row for row in rows if not row.control]
    controls = [row for row in rows if row.control]
    for row in monitored:
        matrix.setdefault(row.typeID, set()).update((Cause.SPONTANEOUS, Cause.REQUESTED))
    image = Image(Monitored(r.CA, r.IOA, r.typeID, r.groups, r.cyclic, r.background) for r in monitored)
    for CA in image.CAs:
        told = [(qoi, image.interrogated(CA, qoi)) for qoi in range(STATION, STATION + 17)]
        told += [
            (Cause.COUNTER_GENERAL + request % GENERAL_COUNTERS, image.counters(CA, request))
            for request in range(1, GENERAL_COUNTERS + 1)
        ]
        told += [(Cause.PERIODIC, image.scanned(CA, background=False))] if settings.cyclic_s else []
        told += [(Cause.BACKGROUND, image.scanned(CA, background=True))] if settings.background_s else []
        for cause, entries in told:
            for entry in entries:
                matrix.setdefault(untagged(entry.config.typeID), set()).add(cause)
    commanded = {untagged(row.typeID) for row in controls}
    refused = {}
    for typeID in _in_control_direction():
        causes = SERVED_CAUSES.get(typeID)
        if causes is None:
            refused[typeID] = Cause.UNKNOWN_TYPE
        elif (typeID in COMMANDS and untagged(typeID) not in commanded) or (
            typeID in PARAMETERS and PARAMETERS[typeID] not in {untagged(row.typeID) for row in monitored}
        ):
            refused[typeID] = Cause.UNKNOWN_IOA
        elif typeID in _DECIDED:
            refused[typeID] = Cause.ACTIVATION_CON
        else:
            answers = {_CONFIRMED_BY[Cause(cause)] for cause in causes if cause in _CONFIRMED_BY}
            ended = {Cause.TERMINATION} if typeID in _TERMINATED else set()
            unknown = {Cause.UNKNOWN_CAUSE, Cause.UNKNOWN_CA, Cause.UNKNOWN_IOA}
            matrix[typeID] = {*causes, *answers, *ended, *unknown}
    used = {typeID: frozenset(causes) for typeID, causes in matrix.items()}
    connections = f"{settings.most_connections} connections in one redundancy group"
    network = [f"listens at {centre.listen}, port {centre.port}" + (", TLS (IEC 62351-3)" if centre.tls else "")]
    # Where no select is asked for there may be one all the same; a bit string has no bit for it.
    selectable = {(typeID, True) for typeID in commanded - {TypeID.C_BO_NA_1}}
    commands = selectable | {(untagged(row.typeID), row.select) for row in controls}
    return Interoperability(
        f"Interoperability of control centre {centre.config.name}",
        (
            *_beginning(settings.sizes, network, controlled=True),
            *_selection(used),
            *_functions(used, commands, settings.time_base, age_s=settings.command_age_s, freezes=True),
            *_parameters(settings.link, f"{centre.port}", connections, connects=False),
        ),
        used,
        refused,
    )


def of_rtu(rtu: RtuOfSite) -> Interoperability:
    """What a field device must be able to do for us as its controlling station."""
    config = rtu.config
    settings, addresses = config.settings, config.reach.addresses
    matrix: dict[TypeID, set[int]] = {TypeID.M_EI_NA_1: {Cause.INITIALISED}}
    events = {Cause.SPONTANEOUS, Cause.REQUESTED, Cause.RETURN_REMOTE, Cause.RETURN_LOCAL}
    for control in config.controls:
        causes = matrix.setdefault(control.rule.typeID, set())
        causes.update((Cause.ACTIVATION, Cause.ACTIVATION_CON))
        if control.terminated:
            causes.add(Cause.TERMINATION)
        if control.select:
            causes.update((Cause.DEACTIVATION, Cause.DEACTIVATION_CON))
    for point in config.points:
        typeID = point.rule.typeID
        matrix.setdefault(typeID, set()).update(events)
        without = matrix.setdefault(untagged(typeID), set())
        if untagged(typeID) is TypeID.M_IT_NA_1:
            without.update((Cause.COUNTER_GENERAL,) if settings.counters else ())
        elif tag_of(untagged(typeID)) is None:
            without.update((Cause.PERIODIC, Cause.BACKGROUND))
            without.update((Cause.INTERROGATED,) if settings.interrogate else ())
    asked = {TypeID.C_IC_NA_1: settings.interrogate, TypeID.C_CI_NA_1: settings.counters}
    asked[TypeID.C_CS_NA_1] = bool(settings.clock_s)
    for typeID in [typeID for typeID, wanted in asked.items() if wanted]:
        ended = {Cause.TERMINATION} if typeID in _TERMINATED else set()
        matrix[typeID] = {Cause.ACTIVATION, Cause.ACTIVATION_CON, *ended}
    used = {typeID: frozenset(causes) for typeID, causes in matrix.items() if causes}
    network = [f"connects to {host}, port {port}" for host, port in addresses]
    network[0] += ", TLS (IEC 62351-3)" if rtu.tls else ""
    return Interoperability(
        f"Interoperability with field device {config.name}",
        (
            *_beginning(settings.sizes, network, controlled=False),
            *_selection(used),
            *_functions(
                used,
                {(untagged(control.rule.typeID), control.select) for control in config.controls},
                settings.time_base,
                age_s=None,
                freezes=False,
            ),
            *_parameters(
                settings.link,
                ", ".join(str(port) for port in sorted({port for _, port in addresses})),
                f"{len(addresses)}",
                connects=True,
            ),
        ),
        used,
    )


def _in_control_direction() -> list[TypeID]:
    return [typeID for typeID in TypeID if typeID >= TypeID.C_SC_NA_1 and typeID is not TypeID.M_EI_NA_1]


def _beginning(sizes: Sizes, network: list[str], *, controlled: bool) -> list[Section]:
    octets = ("one octet", "two octets", "three octets")
    longest = LONGEST_ASDU + _APCI
    return [
        Section(
            "9.1",
            "Role",
            (
                Item("System definition"),
                Item("Controlling station definition (master)", not controlled),
                Item("Controlled station definition (slave)", controlled),
            ),
        ),
        Section(
            "9.2",
            "Configurations",
            tuple(
                Item(each, struck=True)
                for each in ("Point-to-point", "Multipoint-partyline", "Multiple point-to-point", "Multipoint-star")
            )
            + tuple(Item(each, used=True) for each in network),
        ),
        Section(
            "9.3",
            "Transmission speed and circuits",
            (Item("V.24/V.28, X.24/X.27, 100 bit/s to 64 000 bit/s", struck=True),),
        ),
        Section(
            "9.4",
            "Frame format FT 1.2",
            (Item("Balanced transmission", struck=True), Item("Unbalanced transmission", struck=True)),
        ),
        Section(
            "9.5",
            "Transmission mode for application data",
            (Item("Mode 1 (least significant octet first)", used=True),),
        ),
        *(
            Section(
                "9.5",
                title,
                tuple(
                    Item(octets[n - 1] + more.get(n, ""), used=n == size, struck=n != default)
                    for n in range(1, most + 1)
                ),
            )
            for title, size, default, most, more in (
                ("Common address of ASDU", sizes.CA, DEFAULT_SIZES.CA, 2, {}),
                ("Information object address", sizes.IOA, DEFAULT_SIZES.IOA, 3, {}),
                ("Cause of transmission", sizes.COT, DEFAULT_SIZES.COT, 2, {2: " (with originator address)"}),
            )
        ),
        Section("9.5", "Length of APDU", (Item("Maximum length of APDU", used=True, value=f"{longest} octets"),)),
    ]


def _selection(used: dict[TypeID, frozenset[int]]) -> list[Section]:
    sections = [
        Section(
            "9.5",
            title,
            tuple(
                Item(
                    f"<{typeID:d}> {typeID.name}",
                    typeID in used,
                    struck=tag_of(typeID) is CP24Time2a or typeID in _NOT_IN_104,
                )
                for typeID in TypeID
                if first <= typeID <= last
            ),
        )
        for title, first, last in _LINES
    ]
    files = tuple(Item(f"<{number}> {name}") for number, name in _FILE_TYPES.items())
    return [*sections, Section(*_LAST_SELECTION, files)]


def _functions(
    used: dict[TypeID, frozenset[int]],
    commands: set[tuple[TypeID, bool]],
    time_base: TimeBase,
    *,
    age_s: float | None,
    freezes: bool,
) -> list[Section]:
    """Clause 9.6 as far as the time limits.

    Args:
        used: causes by type.
        commands: types without time tag, and whether they go with a select.
        time_base: of all time tags.
        age_s: commands that are older are refused here, s; None where that is not for us to do.
        freezes: counters are frozen by command.
    """
    causes = frozenset().union(*(causes for typeID, causes in used.items() if typeID < TypeID.C_SC_NA_1))
    set_points = {select for typeID, select in commands if typeID in _SET_POINTS}
    others = {select for typeID, select in commands if typeID not in _SET_POINTS}
    qualified = {typeID for typeID, _ in commands} - _SET_POINTS - {TypeID.C_BO_NA_1}
    counters = TypeID.C_CI_NA_1 in used and any(untagged(typeID) is TypeID.M_IT_NA_1 for typeID in used)
    groups = tuple(Item(f"group {n}", STATION + n in causes) for n in range(1, 17))
    tagged = {typeID for typeID in used if tag_of(typeID) is not None}
    terminated = {untagged(t) for t in used if t in COMMANDS and Cause.TERMINATION in used[t]}

    def has(*typeIDs: TypeID) -> bool:
        return any(typeID in used for typeID in typeIDs)

    return [
        Section("9.6", "Station initialization", (Item("Remote initialization", has(TypeID.C_RP_NA_1)),)),
        Section("9.6", "Cyclic data transmission", (Item("Cyclic data transmission", Cause.PERIODIC in causes),)),
        Section("9.6", "Read procedure", (Item("Read procedure", has(TypeID.C_RD_NA_1)),)),
        Section("9.6", "Spontaneous transmission", (Item("Spontaneous transmission", Cause.SPONTANEOUS in causes),)),
        Section(
            "9.6",
            "Double transmission of information objects with cause of transmission spontaneous",
            (Item("Each object is told by one type: with time tag or without"),),
        ),
        Section("9.6", "Station interrogation", (Item("global", has(TypeID.C_IC_NA_1)), *groups)),
        Section(
            "9.6",
            "Clock synchronization",
            (
                Item("Clock synchronization", has(TypeID.C_CS_NA_1)),
                Item("Day of week used"),
                Item("RES1, GEN (time tag substituted/not substituted) used"),
                Item("SU bit (summer time) used", bool(tagged) and time_base.name != "UTC"),
                Item("Time tags tell the time of", bool(tagged), value=time_base.name if tagged else ""),
            ),
        ),
        Section(
            "9.6",
            "Command transmission",
            (
                Item("Direct command transmission", False in others),
                Item("Direct set-point command transmission", False in set_points),
                Item("Select and execute command", True in others),
                Item("Select and execute set-point command", True in set_points),
                Item("C_SE ACTTERM used", bool(terminated & _SET_POINTS)),
                # Passed on as they come: it is the device that knows them or not.
                *(Item(each, bool(qualified)) for each in _QUALIFIERS),
                Item(
                    "Supervision of maximum delay of commands and set-point commands",
                    bool(tagged & COMMANDS) and age_s is not None,
                    value=f"{age_s:g} s" if tagged & COMMANDS and age_s is not None else "",
                ),
            ),
        ),
        Section(
            "9.6",
            "Transmission of integrated totals",
            (
                Item("Mode A: local freeze with spontaneous transmission"),
                Item("Mode B: local freeze with counter interrogation"),
                Item("Mode C: freeze and transmit by counter interrogation commands", counters and freezes),
                Item("Mode D: freeze by counter interrogation command, frozen values reported spontaneously"),
                Item("Counter read", counters),
                Item("Counter freeze without reset", counters and freezes),
                Item("Counter freeze with reset", counters and freezes),
                Item("Counter reset", counters and freezes),
                Item("General request counter", Cause.COUNTER_GENERAL in causes),
                *(Item(f"Request counter group {n}", Cause.COUNTER_GENERAL + n in causes) for n in range(1, 5)),
            ),
        ),
        Section(
            "9.6",
            "Parameter loading",
            (
                *(
                    Item(each, has(TypeID.P_ME_NA_1, TypeID.P_ME_NB_1, TypeID.P_ME_NC_1))
                    for each in ("Threshold value", "Smoothing factor", "Low limit", "High limit")
                ),
            ),
        ),
        Section(
            "9.6",
            "Parameter activation",
            (Item("Act/deact of persistent cyclic or periodic transmission", has(TypeID.P_AC_NA_1)),),
        ),
        Section("9.6", "Test procedure", (Item("Test procedure", has(TypeID.C_TS_TA_1)),)),
        Section("9.6", "File transfer", (Item("Monitor direction"), Item("Control direction"))),
        Section("9.6", "Background scan", (Item("Background scan", Cause.BACKGROUND in causes),)),
        Section("9.6", "Acquisition of transmission delay", (Item("Acquisition of transmission delay", struck=True),)),
    ]


def _parameters(link: LinkConfig, port: str, connections: str, *, connects: bool) -> list[Section]:
    return [
        Section(
            "9.6",
            "Definition of time-outs (default)",
            (
                Item(
                    "t0, connection establishment (30 s)",
                    connects,
                    value=f"{Reach('', ()).connect_s:g} s" if connects else "",
                ),
                Item("t1, send or test APDUs (15 s)", used=True, value=f"{link.t1_s:g} s"),
                Item("t2, acknowledgement without data, t2 < t1 (10 s)", used=True, value=f"{link.t2_s:g} s"),
                Item("t3, test frames (20 s)", used=True, value=f"{link.t3_s:g} s"),
            ),
        ),
        Section(
            "9.6",
            "Outstanding I format APDUs, and latest acknowledgement (default)",
            (Item("k (12)", used=True, value=str(link.k)), Item("w (8)", used=True, value=str(link.w))),
        ),
        Section("9.6", "Port number (2404)", (Item("Port number", used=True, value=port),)),
        Section(
            "9.6",
            "Redundant connections",
            (Item("Number N of redundancy group connections", used=True, value=connections),),
        ),
        Section(
            "9.6",
            "RFC 2200 suite",
            (Item("Ethernet 802.3", used=True), Item("Serial X.21 interface"), Item("Other selection from RFC 2200")),
        ),
    ]


def _ranges(numbers: Iterable[int]) -> str:
    """``20-22, 36``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in runs)
