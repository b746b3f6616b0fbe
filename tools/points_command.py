"""``flisr points``: the point list of an SCD for IEC 60870-5-104."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003  cyclopts reads it at run time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.points.assigned import GENERATED, read_assigned, write_assigned
from gateway.points.list_output import to_csv, to_json
from gateway.points.point_list import Selection, point_list
from gateway.site import read_site
from scl.reader import read

if TYPE_CHECKING:
    from gateway.points.point_list import PointRow
    from gateway.site_iec104 import ServedCentre


class PointsCommandError(ValueError):
    """An argument that cannot be used."""


def points(
    file: Path,
    *,
    assigned: Annotated[
        Path | None,
        Parameter(
            help="Addresses that were given before: read, new ones added at its end. Keep it beside the SCD; "
            "it is what keeps generated addresses the same when IEDs or points are added."
        ),
    ] = None,
    include: Annotated[
        tuple[str, ...], Parameter(help="Only data objects whose reference fits a pattern, such as '*/XCBR*.Pos'.")
    ] = (),
    exclude: Annotated[tuple[str, ...], Parameter(help="Leave out data objects that fit a pattern.")] = (),
    every: Annotated[
        bool,
        Parameter(
            name="--all",
            help="With Mod, Beh and Health of every logical node, and all of its supervision.",
            negative="",
        ),
    ] = False,
    settings: Annotated[bool, Parameter(help="With settings (SPG, ING, ASG).", negative="")] = False,
    addressed_only: Annotated[bool, Parameter(help="Only what has an address in the SCD.", negative="")] = False,
    common_address: Annotated[
        int | None, Parameter(help="One common address for all that has none yet, instead of one per IED.")
    ] = None,
    centre: Annotated[str, Parameter(help="With a site file: the control centre whose list it is.")] = "",
    as_csv: Annotated[bool, Parameter(name="--csv", help="Print the list as CSV.", negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.", negative="")] = False,
) -> None:
    """Print the point list of an SCD for IEC 60870-5-104 (IEC TS 61850-80-1), or of a centre of a site file (TOML).

    Addresses are those of the SCD (Private type="IEC_60870_5_104") where it has them, else generated: a common
    address per IED, information object addresses from 10001 (single points), 20001 (double points, steps),
    30001 (measured values), 40001 (counters, protection) and 50001 (commands). Exit status 1 if something in the
    file is wrong; the rest is printed all the same, and nothing is written.
    """
    if as_csv and as_json:
        raise PointsCommandError("--csv and --json: one of them")
    if common_address is not None and not 0 < common_address < 0xFFFF:
        raise PointsCommandError(f"--common-address {common_address}: expected 1 to 65534")
    if file.suffix == ".toml":
        if assigned or include or exclude or every or settings or addressed_only or common_address is not None:
            raise PointsCommandError(f"{file}: the site file says which points and addresses; give --centre only")
        served = centre_of(file, centre)
        assigned, found = served.assigned, served.points
        served.keep_assigned()
    else:
        if centre:
            raise PointsCommandError(f"--centre {centre}: {file} is no site file (TOML)")
        before = read_assigned(assigned) if assigned else []
        selection = Selection(
            include=include, exclude=exclude, housekeeping=every, settings=settings, addressed_only=addressed_only
        )
        found = point_list(read(file), selection=selection, assigned=before, common=common_address)
        if assigned is not None and not found.problems and found.assigned != before:
            write_assigned(assigned, found.assigned)
    if as_json:
        print(to_json(found))
    else:
        for note in found.notes:
            print(f"note: {note}", file=sys.stderr)
        for problem in found.problems:
            print(f"error: {problem}", file=sys.stderr)
        if as_csv:
            print(to_csv(found.rows), end="")
        else:
            _print_table(file, found.rows)
            new = sum(row.origin == GENERATED for row in found.rows)
            if new and assigned is None:
                print(
                    f"{new} addresses are generated for this file as it is; "
                    f"{'assigned = FILE in the site file' if centre else '--assigned FILE'} keeps them when it changes"
                )
    if found.problems:
        raise SystemExit(1)


def centre_of(file: Path, name: str) -> ServedCentre:
    """A control centre of a site file, by name; without one it must be the only one.

    Raises:
        SiteError: with all that is wrong with the file.
        PointsCommandError: there is no such centre.
    """
    centres, _ = read_site(file).iec104()
    found = [each for each in centres if name in ("", each.config.name)]
    if len(found) != 1:
        there = ", ".join(each.config.name for each in centres) or "none"
        raise PointsCommandError(f"{file}: {f'no centre {name}' if name else 'which centre?'}; --centre: {there}")
    return found[0]


def _print_table(file: Path, rows: list[PointRow]) -> None:
    # Wide enough that no reference is broken when the output goes into a file.
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=200)
    table = Table("CA", "IOA", "type", "", "object", "cdc", "address", "description")
    for row in rows:
        what = ("select and operate" if row.select else "command") if row.control else ""
        cells = (
            str(row.CA),
            str(row.IOA),
            f"{row.typeID:d} {row.typeID.name}",
            what,
            row.object,
            row.cdc,
            row.origin,
            row.description,
        )
        table.add_row(*(Text(cell, "yellow" if row.control else "") for cell in cells))
    console.print(table)
    devices = len({row.source for row in rows})
    controls = sum(row.control for row in rows)
    console.print(Text(f"{file}: {len(rows) - controls} monitored, {controls} commands, {devices} IEDs"))
