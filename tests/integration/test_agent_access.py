"""Who asks a running agent, by the kernel's word: others get what the site file gives them, and all is journalled."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import scl
from ied_agents.runtime.journal import read_journal
from ied_agents.runtime.operator_client import AgentSilentError, ask
from tools.lab import HOST_INTERFACE

SAMPLES = Path(scl.__file__).parent / "samples"
PATIENCE_S = 15.0
OPERATOR, CREW, STRANGER = 1, 5, 65534
"""daemon, games and nobody: the users that every Debian has."""


@pytest.fixture
def root(require, tmp_path_factory):
    require(os.geteuid() == 0, "only root can be several users")
    made = tmp_path_factory.mktemp("r")
    for folder in (made, *made.parents[:2]):
        folder.chmod(0o711)
    return made


@pytest.fixture
def lab(make_lab):
    return make_lab("a9")


@pytest.fixture
def running(lab, root):
    scd = root / "two_source.scd"
    scd.write_bytes((SAMPLES / scd.name).read_bytes())
    site = (SAMPLES / "two_source.toml").read_text(encoding="utf-8")
    rights = '\n[access]\noperate = ["daemon", "no-such-user"]\nunlock = ["daemon"]\ntag = ["@games"]\n'
    scd.with_suffix(".toml").write_text(site + rights, encoding="utf-8")
    words = [sys.executable, "-P", "-m", "tools.cli", "agent", "run", "--ied", "T9", "--interface", HOST_INTERFACE]
    words += ["--scd", str(scd), "--root", str(root)]
    child = lab.spawn("a9", words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    line = child.stdout.readline()
    assert line, child.communicate()[1].decode()
    yield child
    child.kill()
    child.communicate()


def as_user(uid, gid, root, request):
    """What another user's process is answered; ``gid`` is its only group."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            os.write(writer, json.dumps(ask(root / "T9" / "operator", request)).encode())
        except AgentSilentError as error:
            os.write(writer, json.dumps({"silent": str(error)}).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = json.loads(answer.read())
    assert os.waitpid(child, 0)[1] == 0
    return said, child


def journalled(root):
    return [entry for entry in read_journal(root / "T9" / "journal.jsonl") if entry["kind"] in ("operator", "started")]


def test_everybody_in_the_group_may_look_and_each_may_do_what_the_site_file_says(running, root):
    asked = [
        (OPERATOR, {"request": "confirm"}, True),
        (OPERATOR, {"request": "mode", "mode": "blocked"}, True),
        (OPERATOR, {"request": "tag", "owner": "me", "tags": 1}, "user daemon has no right to tag"),
        (CREW, {"request": "tag", "owner": "crew 7", "tags": 1}, True),
        (CREW, {"request": "open"}, "user games has no right to operate"),
        (CREW, {"request": "check", "operation": "close"}, "user games has no right to operate"),
        (CREW, {"request": "return", "event": [3, 1]}, "user games has no right to operate"),
        (STRANGER, {"request": "unlock", "event": [3, 1]}, "user nobody has no right to unlock"),
        (0, {"request": "tag", "owner": "crew 7", "tags": 0}, True),
    ]
    pids = []
    for uid, request, expected in asked:
        status, _ = as_user(uid, 0, root, {"request": "status"})
        assert status["ied"] == "T9"
        answer, pid = as_user(uid, 0, root, request)
        pids.append(pid)
        assert answer["done"] is (expected is True), answer
        assert expected is True or expected in answer["why"]
    running.send_signal(signal.SIGTERM)
    assert running.wait(PATIENCE_S) == 0
    started, *entries = journalled(root)
    assert started["unknown_users"] == ["no-such-user"]
    names = {OPERATOR: "daemon", CREW: "games", STRANGER: "nobody", 0: "root"}
    assert [(e["user"], e["uid"], e["pid"], json.loads(e["request"]), e["done"]) for e in entries] == [
        (names[uid], uid, pid, request, expected is True)
        for (uid, request, expected), pid in zip(asked, pids, strict=True)
    ]
    assert all(expected in entry["why"] for (*_, expected), entry in zip(asked, entries, strict=True) if expected != 1)


def test_who_is_not_in_the_group_does_not_get_there(running, root):
    answer, _ = as_user(STRANGER, STRANGER, root, {"request": "status"})
    assert "this user may not ask it" in answer["silent"]


def test_sockets_and_folders_are_for_whom_they_are_for(running, root):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (root / "T9").iterdir()}
    assert (modes["operator"], modes["inputs"], modes["operator.answers"]) == (0o660, 0o600, 0o1730)
    assert stat.S_IMODE((root / "T9").stat().st_mode) == 0o750
    ask(root / "T9" / "operator", {"request": "status"})
    assert list((root / "T9" / "operator.answers").iterdir()) == []


def test_what_a_killed_asker_left_is_gone_with_the_next_start(lab, running, root):
    left = root / "T9" / "operator.answers" / "4711.aabbccdd"
    left.touch()
    running.send_signal(signal.SIGTERM)
    assert running.wait(PATIENCE_S) == 0
    words = [sys.executable, "-P", "-m", "ied_agents.runtime.agent_process", str(root / "T9" / "settings.json")]
    again = lab.spawn("a9", words, stdout=subprocess.PIPE)
    assert again.stdout.readline()
    assert not left.exists()
    again.kill()
    again.communicate()
