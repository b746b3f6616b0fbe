"""Who may ask what of an agent: users and groups of the machine, as they were when it started."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct

import pytest

from ied_agents.runtime.access import Access, AccessSettings, Asker

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
    monkeypatch.setattr(os, "geteuid", lambda: 990)


def allowed(access, request):
    return [uid for uid in (0, 990, 1001, 1002, 1003, 1004) if not access.refuse(request, Asker("x", uid, 1))]


def test_by_default_only_root_and_the_own_user_have_rights_and_everybody_may_look(machine):
    access = Access(AccessSettings())
    for request in ("open", "close", "mode", "authority", "restore", "confirm", "unlock", "return", "tag"):
        assert allowed(access, request) == [0, 990], request
    for request in ("status", "values", "counters", "no such request"):
        assert len(allowed(access, request)) == 6, request


def test_each_right_is_its_own_and_a_return_to_normal_needs_two(machine):
    access = Access(AccessSettings(operate=("anna", "bela"), unlock=("bela",), tag=("cleo",)))
    for request in ("open", "close", "mode", "authority", "restore"):
        assert allowed(access, request) == [0, 990, 1001, 1002], request
    for request in ("confirm", "unlock", "return"):
        assert allowed(access, request) == [0, 990, 1002], request
    assert allowed(access, "tag") == [0, 990, 1003]
    assert access.unknown == []


def test_a_group_is_all_whose_first_or_other_group_it_is(machine):
    assert allowed(Access(AccessSettings(tag=("@shift",))), "tag") == [0, 990, 1001, 1002]
    assert allowed(Access(AccessSettings(tag=("@empty",))), "tag") == [0, 990]


def test_a_name_that_nobody_has_gives_nobody_anything(machine):
    access = Access(AccessSettings(operate=("shift", "dora"), unlock=("@anna",), tag=("anna",)))
    assert access.unknown == ["shift", "dora", "@anna"]
    assert allowed(access, "open") == allowed(access, "unlock") == [0, 990]
    assert allowed(access, "tag") == [0, 990, 1001]


def test_a_refusal_names_user_and_right(machine):
    access = Access(AccessSettings())
    assert "user anna has no right to unlock" in access.refuse("unlock", Asker("anna", 1001, 1))
    assert "no right to operate" in access.refuse("return", None)
    assert not access.refuse("status", None)


def test_the_asker_is_whom_the_kernel_names(machine):
    access = Access(AccessSettings())
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        there.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        here.send(b"x")
        _, ancillary, _, _ = there.recvmsg(1, 100)
    found = access.asker(ancillary)
    assert (found.uid, found.pid) == (os.getuid(), os.getpid())


@pytest.mark.parametrize(("uid", "name"), [(0, "root"), (1002, "bela"), (4711, "4711")])
def test_a_user_without_a_name_is_named_by_number(machine, uid, name):
    said = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("iII", 7, uid, 100))
    assert Access(AccessSettings()).asker([said]) == Asker(name, uid, 7)


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
    assert Access(AccessSettings()).asker(said) is None
