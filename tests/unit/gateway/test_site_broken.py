"""Broken site files: ``flisr check`` names each error by file and path, and what was expected, all at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import scl
from tools.run_command import check

SAMPLES = Path(scl.__file__).parent / "samples"
RELAY = '\n[[ied]]\nname = "F1Q1"\nhost = "192.0.2.7"\n'
BROKER = '\n[[broker]]\nname = "cloud"\nhost = "192.0.2.9"\n'
HEAD = '[switch."ALPHA/V20/F1/Q1"]\nnormal = "closed"\nrating_a = 400.0\nbreaking_a = 16000.0\ntrip_delay_ms = 300.0\n'

# What is replaced (nothing: added at the end), by what, the path of the error, and a part of what it says.
BROKEN = {
    "no TOML": ("[site]", "[site", "", "no TOML"),
    "site missing": ('[site]\nname = "two_source"\nscd = "two_source.scd"\ndetection_time_ms = 3.0\n', "", "site", ""),
    "name missing": ('name = "two_source"\n', "", "site.name", "required"),
    "no such SCD": ('scd = "two_source.scd"', 'scd = "one_source.scd"', "", "No such file"),
    "SCD is no SCL": ('scd = "two_source.scd"', 'scd = "two_source.toml"', "", "two_source.toml"),
    "unknown section": ("", "\n[swich]\n", "swich", "not permitted"),
    "unknown key": ("detection_time_ms", "detecton_time_ms", "site.detecton_time_ms", "not permitted"),
    "detection in no time": ("detection_time_ms = 3.0", "detection_time_ms = 0", "site.detection_time_ms", "than 0"),
    "text for a number": ("rating_a = 400.0", 'rating_a = "400 A"', 'switch."ALPHA/V20/F1/Q1".rating_a', "number"),
    "infinite rating": ("rating_a = 400.0", "rating_a = inf", 'switch."ALPHA/V20/F1/Q1".rating_a', "finite"),
    "half open": ('normal = "closed"', 'normal = "half"', 'switch."ALPHA/V20/F1/Q1".normal', "'open'"),
    "breaker without delay": ("trip_delay_ms = 300.0\n", "", 'switch."ALPHA/V20/F1/Q1".trip_delay_ms', "above 0"),
    "delay of a load-break switch": (
        "breaking_a = 630.0\n",
        "breaking_a = 630.0\ntrip_delay_ms = 100.0\n",
        'switch."F1/L2".trip_delay_ms',
        "has none",
    ),
    "four shots": (
        "trip_delay_ms = 300.0\n",
        "trip_delay_ms = 300.0\nshots_ms = [300.0, 400.0, 500.0, 600.0]\n",
        'switch."ALPHA/V20/F1/Q1".shots_ms',
        "at most 3",
    ),
    "no such switch": ('[switch."F1/L2"]', '[switch."F1/L3"]', 'switch."F1/L3"', "it has"),
    "switch forgotten": ('[switch."F1/L2"]', '[switch."F1/L3"]', 'switch."F1/L2"', "missing"),
    "no such section": ('[section."F1/S1"]', '[section."F1/S9"]', 'section."F1/S9"', "it has"),
    "negative load": ("load_a = 30.0", "load_a = -30.0", 'section."F1/S1".load_a', "equal to 0"),
    "shared by one": (
        "",
        '\n[shared."T1"]\nrating_a = 90.0\nheads = ["ALPHA/V20/F1/Q1"]\n',
        "shared.T1.heads",
        "at least 2",
    ),
    "shared by nobody's head": (
        "",
        '\n[shared."T1"]\nrating_a = 90.0\nheads = ["ALPHA/V20/F1/Q1", "Q7"]\n',
        'shared."T1".heads',
        "no switch Q7",
    ),
    "account with a blank": ("", '\n[access]\noperate = ["shift leader"]\n', "access.operate[1]", "match pattern"),
    "listens to a name": ('listen = "127.0.0.1"', 'listen = "gateway"', "centre[1].listen", "IPv4 or IPv6"),
    "port too high": ("port = 2405", "port = 240500", "centre[2].port", "65535"),
    "two centres of one name": ('name = "neighbour"', 'name = "regional"', "centre[2].name", "regional"),
    "two centres at one port": ("port = 2405", "port = 2404", "centre[2]", "another port"),
    "window smaller than w": ("link = { k = 6, w = 4 }", "link = { k = 6, w = 7 }", "centre[2].link.w", "k"),
    "t2 above t1": ("t2_s = 10.0", "t2_s = 16.0", "centre[1].link.t2_s", "t1"),
    "no such time zone": ("Europe/Sarajevo", "Europe/Sarajewo", "centre[1].time_zone", "Sarajewo"),
    "certificate that is not there": (
        "most_events = 50000",
        'tls = { certificate = "a.pem", key = "a.key", authority = "ca.pem" }',
        "centre regional: ",
        "a.pem: No such file",
    ),
    "type that is none": (
        'typeID = "M_SP_TB_1"',
        'typeID = "M_SP_XX_1"',
        'point."F1Q1FLISR/LLN0.Health".typeID',
        "name",
    ),
    "point that is none": ('[point."F1Q1FLISR/CSWI1.Pos"]', '[point."F1Q1FLISR/CSWI9.Pos"]', 'CSWI9.Pos"', "there is"),
    "two points at one address": (
        '[point."F1Q1FLISR/LLN0.Health"]',
        '[point."F1Q1FLISR/LLN0.Health"]\nIOA = 1',
        "",
        "IOA 1",
    ),
    "RTU without address": ('hosts = ["192.0.2.11", "198.51.100.11:2404"]', "hosts = []", "rtu[1].hosts", "at least 1"),
    "RTU at a port that is none": ("198.51.100.11:2404", "198.51.100.11:x", "rtu[1].hosts", "198.51.100.11:x"),
    "no such IED": (RELAY, RELAY.replace("F1Q1", "F1Q9"), "ied[1].name", "F1Q9"),
    "IED twice": (RELAY, RELAY + RELAY, "ied[2].name", "ied[1] too"),
    "waits longer than a centre": (RELAY, RELAY + "timeout_s = 9.0\n", "ied[1].timeout_s", "equal to 8"),
    "broker without host": ("", '\n[[broker]]\nname = "cloud"\n', "broker[1].host", "required"),
    "broker with a wildcard": ("", BROKER + 'prefix = "a/+"\n', "broker[1].prefix", "no topic"),
    "broker twice": ("", BROKER + BROKER, "broker[2].name", "cloud"),
    "history of no days": ("", '\n[history]\nwhere = "h.sqlite"\ndays = 0\n', "history.days", "than 0"),
}


def problems(tmp_path, capsys, *changes):
    for name in ("two_source.scd", "two_source.toml"):
        (tmp_path / name).write_bytes((SAMPLES / name).read_bytes())
    text = (SAMPLES / "two_source_104.toml").read_text(encoding="utf-8") + RELAY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1) if old else text + new
    site = tmp_path / "site.toml"
    site.write_text(text, encoding="utf-8")
    if not changes:
        check(site, as_json=True)
    else:
        with pytest.raises(SystemExit) as ended:
            check(site, as_json=True)
        assert ended.value.code == 1
    return json.loads(capsys.readouterr().out)["problems"]


def test_what_is_broken_below_is_whole(tmp_path, capsys):
    assert problems(tmp_path, capsys) == []


@pytest.mark.parametrize(("old", "new", "path", "says"), BROKEN.values(), ids=BROKEN)
def test_an_error_is_located(tmp_path, capsys, old, new, path, says):
    found = problems(tmp_path, capsys, (old, new))
    assert all(str(tmp_path) in problem for problem in found)
    assert any(path in problem and says in problem for problem in found), found


def test_all_errors_are_found_at_once(tmp_path, capsys):
    names = ("unknown key", "half open", "negative load", "listens to a name", "port too high", "RTU without address")
    found = problems(tmp_path, capsys, *(BROKEN[name][:2] for name in names))
    for name in names:
        assert any(BROKEN[name][2] in problem for problem in found), name
    names = ("no such switch", "two centres of one name", "point that is none", "no such IED")
    found = problems(tmp_path, capsys, *(BROKEN[name][:2] for name in names))
    for name in names:
        assert any(BROKEN[name][2] in problem for problem in found), name
