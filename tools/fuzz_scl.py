"""Mutated SCL files: each must give a model or a located error, in bounded time, and survive being written.

Run by hand for large numbers, ``python -m tools.fuzz_scl --files 100000 --corpus FOLDER``; the tests run a
few hundred. File ``index`` of a seed is always the same, so a failing one is repeated with ``--first``.
"""

from __future__ import annotations

import json
import random
import re
import resource
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter
from rich.progress import track

from scl.document import SclError, parse_document, serialise
from scl.generate import generate_scd
from scl.reader import parse_all
from scl.regular import regular_network
from scl.validation import check

if TYPE_CHECKING:
    from collections.abc import Sequence

app = App(name="scl", help="Mutated SCL files into reader, topology and validation.")

SLOW_S: Final = 5.0
"""Longest processor time that one file of ordinary size may take."""

_TOKEN: Final = re.compile(rb'<[^<>]*>|"[^"<>]*"|[^<>"]+')
_NASTY: Final = (
    b"\xff\xfe",
    *(text.encode() for text in (
        *("", " ", "0", "-1", "1e999", "NaN", "99999999999999999999", "true", "\N{ARABIC-INDIC DIGIT THREE}"),
        *("&amp;", "&#0;", "&x;", "\x00", "<![CDATA[", "]]>", "<!--", "-->", "<?x?>", "\U0001f600"),
        *('<!DOCTYPE x [<!ENTITY a "aa">]>', "xmlns:p='u'", "p:x='1'", "grounded", "None", "TEMPLATE", "@"),
        *("../..", "F1/S1b", "LLN0", "Struct", "Enum", "fast", "AFSR"),
        *("<IED/>", "<LN0/>", "<DO/>", "<Terminal/>", "<ExtRef iedName='@'/>"),
    )),
)  # fmt: skip


class FuzzError(Exception):
    """A file that was neither read nor refused as it must be."""


@cache
def seeds(corpus: str) -> tuple[bytes, ...]:
    """Valid files to start from: a small generated system, and the files of a corpus."""
    small = generate_scd(regular_network("s", feeders=2, switches=1)).encode()
    files = sorted(path for path in Path(corpus).rglob("*") if path.is_file()) if corpus else []
    return (small, *(path.read_bytes() for path in files))


def mutate(data: bytes, chance: random.Random) -> bytes:
    """One to eight changes; half of the files stay well-formed XML, the others are changed octet by octet."""
    changes = chance.choice((1, 1, 1, 2, 3, 8))
    if chance.random() < 0.5:
        return _elements(data, changes, chance)
    for _ in range(changes):
        data = _octets(data, chance) if chance.random() < 0.3 else _tokens(data, chance)
    return data


def _elements(data: bytes, changes: int, chance: random.Random) -> bytes:
    """Elements and attributes dropped, doubled, moved, renamed, given other values."""
    document = parse_document(data)
    texts = [value for element in document.root.walk() for value in element.attributes.values()]
    texts += [text.decode(errors="ignore").replace("\x00", "") for text in _NASTY]
    for _ in range(changes):
        everything = list(document.root.walk())
        element, other = chance.choice(everything), chance.choice(everything)
        parent = element.parent
        match chance.randrange(7):
            case 0 if parent is not None and element in parent.children:
                parent.children.remove(element)
            case 1 if parent is not None:
                parent.children.extend([element] * chance.choice((1, 1, 1, 5)))
            case 2 if all(each is not other for each in element.walk()):
                other.children.append(element)
            case 3 if ":" not in element.tag and ":" not in other.tag:
                element.tag = other.tag
            case 4 if element.attributes:
                del element.attributes[chance.choice(list(element.attributes))]
            case 5 if element.attributes:
                element.attributes[chance.choice(list(element.attributes))] = chance.choice(texts)
            case _:
                element.text = chance.choice(texts)
    return serialise(document)


def _octets(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    match chance.randrange(4):
        case 0:
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + chance.choice(_NASTY) + data[at:]
        case _:
            end = at + chance.randrange(200)
            return data[:at] + data[end:]


def _tokens(data: bytes, chance: random.Random) -> bytes:
    places = [match.span() for match in _TOKEN.finditer(data)]
    if not places:
        return data
    start, end = chance.choice(places)
    token = data[start:end]
    match chance.randrange(6):
        case 0:
            new = b""
        case 1:
            new = token * chance.choice((2, 3, 50))
        case 2:
            other, stop = chance.choice(places)
            new = data[other:stop]
        case 3:
            new = b'"' + chance.choice(_NASTY) + b'"' if token.startswith(b'"') else chance.choice(_NASTY)
        case 4:
            # an element with all that stands in it, somewhere else or once more
            other, _ = chance.choice(places)
            new = token + data[other : other + chance.randrange(3000)]
        case _:
            values = re.findall(rb'="([^"<>]*)"', data)
            new = re.sub(rb'"[^"]*"', b'"' + (chance.choice(values) if values else b"") + b'"', token, count=1)
    return data[:start] + new + data[end:]


def judge(data: bytes) -> str:
    """What became of a file: ``refused``, ``findings`` or ``valid``.

    Raises:
        FuzzError: an error without its place, or a model that writing changes.
    """
    try:
        scl, problems = parse_all(data, "fuzz.scd")
    except SclError as error:
        if error.line < 1 or error.file != "fuzz.scd":
            raise FuzzError(f"error without place: {error}") from error
        return "refused"
    again, problems_again = parse_all(serialise(scl.document), "fuzz.scd")
    if again != scl or [each.message for each in problems_again] != [each.message for each in problems]:
        raise FuzzError("written and read again, the model differs")
    findings = check(data, "fuzz.scd", normally_open=())
    for finding in findings:
        if finding.line < 1 or not finding.path.startswith("/"):
            raise FuzzError(f"finding without place: {finding}")
    return "findings" if findings else "valid"


def run_one(index: int, seed: int, corpus: str) -> tuple[str, float]:
    """Outcome and processor time of one file; an exception is part of the outcome."""
    chance = random.Random(f"{seed}/{index}")
    data = mutate(chance.choice(seeds(corpus)), chance)
    start = time.process_time()
    try:
        outcome = judge(data)
    except Exception as error:  # noqa: BLE001  any is a defect to report with its number
        outcome = f"FAILED {index}: {type(error).__name__}: {error}"[:300]
    took = time.process_time() - start
    return (outcome if took < SLOW_S or outcome.startswith("FAILED") else f"FAILED {index}: took {took:.1f} s"), took


def summarise(results: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """Numbers of a run."""
    outcomes = Counter(outcome for outcome, _ in results if not outcome.startswith("FAILED"))
    return {
        "files": len(results),
        **dict(sorted(outcomes.items())),
        "failed": [outcome for outcome, _ in results if outcome.startswith("FAILED")],
        "slowest_ms": round(1000 * max(took for _, took in results), 1),
    }


@app.default
def fuzz(
    *,
    files: Annotated[int, Parameter(help="How many.")] = 1000,
    seed: Annotated[int, Parameter(help="Everything follows from it.")] = 1,
    first: Annotated[int, Parameter(help="Number of the first file.")] = 0,
    corpus: Annotated[str, Parameter(help="Folder of files to start from, beside a generated one.")] = "",
    workers: Annotated[int, Parameter(help="Processes.")] = 1,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run, print the numbers; exit status 1 if a file was neither read nor refused as it must be."""
    start = time.perf_counter()
    with ProcessPoolExecutor(max_workers=workers) as pool:
        work = partial(run_one, seed=seed, corpus=corpus)
        verdicts = pool.map(work, range(first, first + files), chunksize=50)
        results = list(verdicts if as_json else track(verdicts, total=files, description="files"))
    summary = summarise(results)
    summary["seed"] = seed
    summary["wall_s"] = round(time.perf_counter() - start, 1)
    summary["peak_mb"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        print("\n".join(f"{name}: {value}" for name, value in summary.items()))
    if summary["failed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    app()
