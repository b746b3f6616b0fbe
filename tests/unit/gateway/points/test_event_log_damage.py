"""An event log with damaged octets and missing files: what can be read is offered, the rest is named."""

import tempfile
from pathlib import Path

import event_log_kill
import pytest
from event_logs import (
    BACKUP,
    SCADA,
    SMALL,
    T0,
    filled,
    opened,
    store,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.points import event_segments
from gateway.points.event_log import StoreTooNew


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """So that small segments hold something."""
    with event_log_kill.small_blocks():
        yield


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "events"


PAYLOAD = b"%03d" + 97 * b"x"


def several_files(folder):
    """Some files with several writes each, some events acknowledged; what waits, by payload."""
    with opened(folder, SCADA, BACKUP, **SMALL) as log:
        for n in range(40):
            for at in range(5):
                log.append(f"{'ab'[at % 2]}{n % 3}", PAYLOAD % (5 * n + at), T0)
            log.written(log.write())
            log.consumer("scada").acknowledge([each.sequence for each in log.consumer("scada").take(3)])
        store(log)
        log.consumer("scada").release()
        return {name: {each[1:3] for each in log.consumer(name).take(10**9)} for name in ("scada", "backup")}


EVERYTHING = {(f"{'ab'[at % 2]}{n % 3}", PAYLOAD % (5 * n + at)) for n in range(40) for at in range(5)}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    waiting = several_files(folder)
    files = {each.name: each.read_bytes() for each in folder.glob("events-*.log")}
    assert len(files) > 3
    return files, waiting


def damaged(files, *places):
    """The files with octets at these places, counted through all of them, turned to others; and where that is."""
    files = {name: bytearray(content) for name, content in files.items()}
    where = []
    for place, change in places:
        at = place % sum(map(len, files.values()))
        for name, content in sorted(files.items()):
            if at < len(content):
                content[at] ^= change
                where.append((name, at))
                break
            at -= len(content)
    return files, where


def read_back(files):
    """Open a log of these files twice; what it offers, its trouble, and the names of all files in the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each, content in files.items():
            (folder / each).write_bytes(content)
        with opened(folder, SCADA, BACKUP, **SMALL) as log:
            trouble = log.trouble
            store(log)
            log.written(log.write())
            offered = {each: [x[1:3] for x in log.consumer(each).take(10**9)] for each in ("scada", "backup")}
        with opened(folder, SCADA, BACKUP, **SMALL) as log:
            store(log)
            again = {each: [x[1:3] for x in log.consumer(each).take(10**9)] for each in ("scada", "backup")}
            assert again == offered, "what could be read is safe now"
            assert not [each for each in log.trouble if "offset" in each]
        for each in offered.values():
            assert len(each) == len(set(each))
            assert set(each) <= EVERYTHING, "invented"
        return {name: set(each) for name, each in offered.items()}, trouble, {each.name for each in folder.iterdir()}


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 255)), min_size=1, max_size=5))
def test_damaged_octets_cost_what_they_hit_and_are_named(sound, places):
    files, waiting = sound
    changed, where = damaged(files, *places)
    offered, trouble, names = read_back(changed)
    lost = (waiting["scada"] - offered["scada"]) | (waiting["backup"] - offered["backup"])
    # A hit costs an event or, where it hits the key, those of that key in the file; or both copies of the table.
    assert len(lost) <= 2 * len(where) * 5 * 2 or len(where) > 1
    last = max(files)
    for name, at in where:
        if changed[name][at] == files[name][at]:
            continue  # hit twice
        if name != last:
            assert any(f"/{name}: offset " in each for each in trouble)
            assert f"{name}.damaged" in names or len([each for each in names if each.endswith(".damaged")]) == 4
    if not trouble:
        assert not lost or {name for name, _ in where} == {last}


def test_one_damaged_octet_in_an_event_costs_that_event(sound):
    files, waiting = sound
    name = sorted(files)[1]
    for victim in (each for each in waiting["backup"] if files[name].count(each[1]) == 1):
        at = files[name].index(victim[1])
        changed = dict(files)
        changed[name] = files[name][:at] + b"\xe1" + files[name][at + 1 :]
        offered, trouble, names = read_back(changed)
        assert waiting["backup"] - offered["backup"] == {victim}
        (line,) = trouble
        assert f"/{name}: offset {at - 48}: damaged, {48 + 100} octets cannot be read" in line
        assert f"{name}.damaged" in names
        break
    else:
        pytest.fail("no such event")


def test_a_damaged_header_costs_nothing(sound):
    files, waiting = sound
    for name in sorted(files)[:-1]:
        changed = dict(files)
        changed[name] = bytes(24) + files[name][24:]
        offered, trouble, _ = read_back(changed)
        assert offered == waiting
        assert any(f"{name}: offset 0: damaged, 24 octets" in each for each in trouble)


def test_a_missing_or_shortened_file_is_named(sound):
    files, waiting = sound
    name = sorted(files)[2]
    changed = dict(files)
    del changed[name]
    offered, trouble, _ = read_back(changed)
    assert offered["backup"] < waiting["backup"]
    assert any(each.endswith(f"/{name}: offset 0: the file is missing") for each in trouble)
    for length in (0, 10, 24, 5000):
        changed[name] = files[name][:length]
        _, trouble, names = read_back(changed)
        missing = len(files[name]) - length
        assert any(f"/{name}: offset {length}: the last {missing} octets are missing" in each for each in trouble)
        assert f"{name}.damaged" in names


@settings(max_examples=50)
@given(st.binary(max_size=300), st.integers(0, 5), st.sampled_from([b"", b"FLISREV\n", b"\xe1\xe1\xe1\xe1"]))
def test_whatever_stands_in_a_file_it_opens(sound, garbage, which, front):
    files, waiting = sound
    name = sorted(files)[which]
    offered, _, _ = read_back({**files, name: front + garbage * 20})
    others = {each for each in waiting["backup"] if not any(each[1] in files[name] for _ in [0])}
    assert others <= offered["backup"]


def test_what_cannot_be_read_at_all_is_named_and_passed_over(sound, tmp_path):
    files, _ = sound
    for each, content in files.items():
        (tmp_path / each).write_bytes(content)
    name = min(files)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with opened(tmp_path, SCADA, BACKUP, **SMALL) as log:
        assert any(f"{name}: offset 0: cannot be read: [Errno 21]" in each for each in log.trouble)
        store(log)
        log.written(log.write())
        assert log.consumer("backup").waiting > 50
    assert (tmp_path / f"{name}.damaged").is_dir()


def test_few_damaged_files_are_kept_and_much_damage_is_summed_up(sound, tmp_path):
    files, _ = sound
    for each, content in files.items():
        (tmp_path / each).write_bytes(bytes(x ^ (at % 3000 == 100) for at, x in enumerate(content)))
    for n in range(10):
        (tmp_path / f"events-000000000{n}.log.damaged").write_bytes(b"old")
    with opened(tmp_path, SCADA, BACKUP, **SMALL) as log:
        assert len(log.trouble) <= 21
        store(log)
        log.written(log.write())
    assert len(list(tmp_path.glob("*.damaged"))) == 4


def test_a_newer_format_is_refused_by_name(folder):
    with opened(folder) as log:
        filled(log, "a0")
    (path,) = folder.glob("events-*.log")
    octets = bytearray(path.read_bytes())
    octets[9] = 3
    path.write_bytes(octets)
    with opened(folder) as log:  # the checksum says that this is damage
        assert log.consumer("scada").waiting == 1
    octets[20:24] = event_segments.zlib.crc32(octets[:20]).to_bytes(4, "big")
    path.write_bytes(octets)
    with pytest.raises(StoreTooNew, match=f"{path}: offset 8: written in format 3, this program reads up to 2"):
        opened(folder)
    octets[9] = 1
    octets[20:24] = event_segments.zlib.crc32(octets[:20]).to_bytes(4, "big")
    path.write_bytes(octets)
    opened(folder).close()
