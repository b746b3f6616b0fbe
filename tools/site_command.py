"""``flisr site``: make a site file."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import Annotated

from cyclopts import App, Parameter

from gateway.app import Gateway
from gateway.site import SiteError, read_site
from gateway.site_init import site_text
from scl.document import SclError

app = App(name="site", help="Site files.")


@app.command
def init(
    *scds: Annotated[Path, Parameter(help="SCL files.")],
    folder: Annotated[Path | None, Parameter(help="Where to write; beside each SCD without it.")] = None,
    as_json: Annotated[bool, Parameter(name="--json", help="Print one JSON document per file.", negative="")] = False,
) -> None:
    """Write a first site file for each SCD, and check it; an existing one is left as it is.

    Exit status 1 if one could not be written, or is not free of errors.
    """
    failed = False
    for scd in scds:
        file = (folder or scd.parent) / f"{scd.stem}.toml"
        points, problems = _made(scd, file)
        failed = failed or bool(problems)
        if as_json:
            print(json.dumps({"scd": str(scd), "site": str(file), "points": points, "problems": problems}))
        else:
            print("\n".join(problems) if problems else f"{file}: {points} points")
    if failed:
        raise SystemExit(1)


def _made(scd: Path, file: Path) -> tuple[int, list[str]]:
    try:
        text = site_text(scd, file)
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
        return Gateway(read_site(file)).points, []
    except FileExistsError:
        return 0, [f"{file}: exists already, and is left as it is"]
    except OSError as error:
        return 0, [f"{error.filename}: {error.strerror}"]
    except SclError as error:
        return 0, [str(error)]
    except SiteError as error:
        return 0, error.problems
