"""A gateway that follows the counting IED of ``foreign_ied.py`` for a control centre, in a process that tests kill.

Arguments: folder, port of the IED, own port, what a write takes on top, s, and ``at once`` for one that keeps EntryIDs
before it has stored. Says its port on standard output.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

import foreign_ied

from gateway.adapters.iec104_outlet import CentreConfig, Outlet
from gateway.adapters.mms_field import MmsFieldConfig
from gateway.adapters.mms_plan import plan
from gateway.adapters.mms_process import MmsFields
from gateway.points.point_list import Selection, point_list
from gateway.points.table import PointTable


async def main(folder: str, ied_port: str, port: str, write_s: str, order: str) -> None:
    logging.basicConfig(
        filename=f"{folder}/gateway.log", format="%(asctime)s %(process)d %(message)s", level=logging.INFO
    )
    counting = point_list(foreign_ied.SCL, common=1, selection=Selection(include=("*/GGIO1.*",)))
    made = plan(foreign_ied.SCL, foreign_ied.SCL.ied(foreign_ied.IED), counting.rows)
    pace = {"first_s": 0.05, "longest_s": 0.1}
    ieds = MmsFields(
        [
            MmsFieldConfig(
                name="REL1", host="127.0.0.1", port=int(ied_port), points=made.points, blocks=made.blocks, **pace
            )
        ],
        Path(folder, "mms"),
    )
    outlet = Outlet(PointTable(counting.points()), Path(folder, "log"), [CentreConfig("centre", counting.rows)], ieds)
    write = outlet.log.write

    def slowly():
        time.sleep(float(write_s))
        return write()

    outlet.log.write = slowly
    if order == "at once":
        outlet.when_stored = lambda call: call()
    print(await outlet.server.listen("127.0.0.1", int(port)), flush=True)
    ieds.start(outlet)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
