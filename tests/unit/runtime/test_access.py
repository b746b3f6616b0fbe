"""Who may ask what of an agent: users and groups of the machine, as they were when it started."""

from __future__ import annotations

import grp
import os
import pwd
import socket

import pytest

from ied_agents.runtime.access import Access, Gatekeeper, attend, writer_of

USERS = [("root", 0, 0), ("anna", 1001, 100), ("bela", 1002, 50), ("cleo", 1003, 100), ("toor", 0, 0)]
GROUPS = {"shift": (50, ["anna"]), "empty": (51, [])}


@pytest.fixture
def machine(monkeypatch):
    """Three users; bela's first group is shift, anna is in it too. The agent runs as user 990, who has no name."""
    users = [pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh")) for name, uid, gid in USERS]

    def user(name):
        return {each.pw_name: each for each in reversed(users)}[name]

    def group(name):
        gid, members = GROUPS[name]
        return grp.struct_group((name, "x", gid, members))

    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    monkeypatch.setattr(pwd, "getpwnam", user)
    monkeypatch.setattr(grp, "getgrnam", group)
    monkeypatch.setattr(os, "getuid", lambda: 990)


def allowed(access, request):
    gatekeeper = Gatekeeper(access)
    return [uid for uid in (0, 990, 1001, 1002, 1003, 1004) if not gatekeeper.refuse(request, uid)]


def test_by_default_only_root_and_the_own_user_have_rights_and_everybody_may_look(machine):
    for request in ("open", "close", "mode", "authority", "restore", "confirm", "unlock", "return", "tag"):
        assert allowed(Access(), request) == [0, 990], request
    for request in ("status", "values", "counters", "no such request"):
        assert len(allowed(Access(), request)) == 6, request


def test_each_right_is_its_own_but_who_operates_may_tag(machine):
    access = Access(operate=("anna",), unlock=("bela",), tag=("cleo",))
    for request in ("open", "close", "mode", "authority", "restore"):
        assert allowed(access, request) == [0, 990, 1001], request
    for request in ("confirm", "unlock"):
        assert allowed(access, request) == [0, 990, 1002], request
    assert allowed(access, "return") == [0, 990]
    assert allowed(Access(operate=("anna", "bela"), unlock=("bela",)), "return") == [0, 990, 1002]
    assert allowed(access, "tag") == [0, 990, 1001, 1003]


def test_a_group_is_all_whose_first_or_other_group_it_is(machine):
    assert allowed(Access(tag=("@shift",)), "tag") == [0, 990, 1001, 1002]
    assert allowed(Access(tag=("@empty",)), "tag") == [0, 990]


@pytest.mark.parametrize(("name", "said"), [("shift", "no user 'shift'"), ("@anna", "no group 'anna'")])
def test_a_name_that_nobody_has_is_named_as_what_it_is_not(machine, name, said):
    for right in ("operate", "unlock", "tag"):
        gatekeeper = Gatekeeper(Access(**{right: (name, "@empty")}))
        assert [said in one for one in gatekeeper.unknown] == [True]


def test_a_refusal_names_user_and_right(machine):
    gatekeeper = Gatekeeper(Access())
    assert gatekeeper.refuse("unlock", 1001).startswith("anna (uid 1001) may not unlock")
    assert gatekeeper.who(0) == "root"
    assert gatekeeper.who(4711) == "uid 4711"


def test_the_writer_is_whom_the_kernel_names():
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        attend(there)
        here.send(b"x")
        _, ancillary, _, _ = there.recvmsg(1, 100)
    assert writer_of(ancillary) == (os.getuid(), os.getpid())


@pytest.mark.parametrize(
    "said",
    [
        [],
        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, bytes(12))],
        [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, bytes(8))],
        [(socket.SOL_TCP, socket.SCM_CREDENTIALS, bytes(12))],
    ],
)
def test_without_the_kernels_word_it_is_nobody(machine, said):
    uid, _ = writer_of(said)
    assert uid is None
    assert Gatekeeper(Access()).refuse("open", uid).startswith("nobody known")
