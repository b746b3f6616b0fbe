"""``[[broker]]`` of a site file: what it resolves to, and every error with its path, at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from authorities import Authority

import scl
from gateway.adapters.mqtt_messages import Topics
from gateway.app import Gateway
from gateway.site import SiteError, read_site

SAMPLES = Path(scl.__file__).parent / "samples"
HEAD = '[site]\nname = "north"\n'
RTU = """
[[rtu]]
name = "NORTH"
hosts = ["127.0.0.1:1"]
CAs = [1]

[[rtu.point]]
name = "NORTH/Q1.Pos"
cdc = "DPC"
typeID = "M_DP_TB_1"
IOA = 12

[[rtu.point]]
name = "NORTH/Q1.Pos"
cdc = "DPC"
typeID = "C_DC_TA_1"
IOA = 13
direction = "control"
select = true

[[rtu.point]]
name = "NORTH/I"
cdc = "MV"
typeID = "M_ME_TF_1"
IOA = 14
"""
BROKER = '\n[[broker]]\nname = "cloud"\nhost = "broker.example"\n'


@pytest.fixture
def problems(tmp_path):
    """``problems(text)``: what is wrong with a site."""

    def found(text):
        file = tmp_path / "north.toml"
        file.write_text(text)
        with pytest.raises(SiteError) as error:
            Gateway(read_site(file))
        return [each.removeprefix(f"{file}: ") for each in error.value.problems]

    return found


def site(folder, text):
    file = folder / "north.toml"
    file.write_text(text)
    return read_site(file)


def test_a_broker_and_its_points(tmp_path):
    (tmp_path / "secret").write_text("pass word\n")
    more = 'user = "gateway"\npassword_file = "secret"\ncommands = true\npoints = { exclude = ["NORTH/I"] }\n'
    read = site(tmp_path, HEAD + RTU + BROKER + more)
    (broker,) = read.mqtt()
    config, faults = broker.ready()
    assert faults == []
    assert (config.host, config.port, config.user, config.password) == ("broker.example", 1883, "gateway", "pass word")
    assert config.topics == Topics("flisr", "north")
    assert config.client_id == "flisr-north-cloud"
    assert {(row.name, row.control, row.select) for row in config.rows} == {
        ("NORTH/Q1.Pos", False, False),
        ("NORTH/Q1.Pos", True, True),
    }
    assert Gateway(read).brokers == {"cloud": "broker.example:1883"}


def test_tls_has_its_port_and_a_broker_is_known_by_its_name(tmp_path):
    authority = Authority(tmp_path / "ca", "ours")
    files = authority.issue("gateway")
    tls = f'tls = {{ authority = "ca/ca.pem", certificate = "{files.certificate}", key = "{files.key}" }}\n'
    for text in ('tls = { authority = "ca/ca.pem" }\n', tls):
        (broker,) = site(tmp_path, HEAD + RTU + BROKER + text).mqtt()
        config, faults = broker.ready()
        assert faults == []
        assert config.port == 8883
        assert config.tls.check_hostname


def test_a_broker_gets_the_points_of_the_scd_too(tmp_path):
    for name in ("two_source.scd", "two_source.toml"):
        (tmp_path / name).write_bytes((SAMPLES / name).read_bytes())
    text = (tmp_path / "two_source.toml").read_text()
    more = BROKER + 'points = { include = ["F1Q1FLISR/CSWI1.Pos"] }\n'
    (broker,) = site(tmp_path, text + more).mqtt()
    assert {row.name for row in broker.config.rows} == {"F1Q1FLISR/CSWI1.Pos"}
    ied = '\n[[ied]]\nname = "F1Q1"\nhost = "192.0.2.7"\n'
    seen = 'points = { include = ["F1Q1*"], housekeeping = true }\n'
    (plain,), (wider,) = (site(tmp_path, text + ied + each).mms() for each in ("", BROKER + seen))
    # What only a broker wants is followed too.
    assert {point.name for point in plain.points} < {point.name for point in wider.points}


def test_all_that_is_wrong_at_once(problems):
    brokers = (
        BROKER
        + 'password_file = "none"\ntls = { authority = "ca.pem", key = "own.key" }\n'
        + BROKER
        + 'points = { include = ["SOUTH/*"] }\n'
        + BROKER.replace("cloud", "third")
        + 'commands = true\npoints = { include = ["*/I"] }\nclient_id = "flisr-north-cloud"\n'
    )
    found = problems(HEAD + RTU.replace('"NORTH/I"', '"NORTH/#/I"') + brokers)
    starts = [
        "broker[1].user: missing",
        "broker[1].tls.certificate: missing",
        "broker[2].name: cloud is broker[1] too",
        "broker[2].prefix: broker[1] publishes there under flisr too",
        "broker[3].client_id: broker[1] has it too",
        "broker[1].points: 'NORTH/#/I' has '#'",
        "broker[2].points: no point is left",
        "broker[3].commands: none of its points can be commanded",
    ]
    for start in starts:
        assert any(each.startswith(start) for each in found), (start, found)


def test_files_that_cannot_be_used_and_a_name_that_is_no_topic(problems, tmp_path):
    (tmp_path / "empty").touch()
    first = BROKER + 'user = "u"\npassword_file = "none"\ntls = { authority = "ca.pem" }\n'
    second = BROKER.replace("cloud", "b").replace("broker.example", "b") + 'user = "u"\npassword_file = "empty"\n'
    found = problems(HEAD + RTU + first + second)
    assert [each.partition(": ")[0] for each in found] == [
        "broker[1].tls",
        "broker[1].password_file",
        "broker[2].password_file",
    ]
    assert "No such file" in found[0]
    (name,) = problems(HEAD.replace("north", "north/2") + RTU + BROKER)
    assert name.startswith("site.name: 'north/2' has '/'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('prefix = "a/#"', "broker[1].prefix: Value error, 'a/#' has '#', which no topic may have"),
        ("most_events = 0", "broker[1].most_events: Input should be greater than 0"),
        ("command_age_s = 301", "broker[1].command_age_s: Input should be less than or equal to 300"),
        ("keepalive_s = 1", "broker[1].keepalive_s: Input should be greater than or equal to 5"),
        ('password = "x"', "broker[1].password: Extra inputs are not permitted"),
        ('points = { inclde = ["*"] }', "broker[1].points.inclde: Extra inputs are not permitted"),
    ],
)
def test_what_a_broker_cannot_be(problems, text, said):
    assert problems(HEAD + RTU + BROKER + text + "\n") == [said]


def test_a_host_that_is_none(problems):
    (said,) = problems(HEAD + RTU + BROKER.replace("broker.example", "broker:x"))
    assert said.startswith("broker[1].host: Value error, 'broker:x'; expected HOST")


def test_the_library_is_loaded_when_it_is_needed(tmp_path):
    (tmp_path / "north.toml").write_text(HEAD + RTU + BROKER)
    script = (
        "import sys, pathlib; from gateway.app import Gateway; from gateway.site import read_site;"
        "Gateway(read_site(pathlib.Path(sys.argv[1])));"
        "sys.exit(', '.join(each for each in sys.modules if each.partition('.')[0] in ('aiomqtt', 'paho')) or None)"
    )
    words = [sys.executable, "-P", "-c", script, str(tmp_path / "north.toml")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
