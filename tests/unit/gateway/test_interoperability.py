"""The interoperability list says what a real station does: each cause it claims, and each refusal."""

from dataclasses import replace
from pathlib import Path

import pytest
from iec104_field_world import World as FieldWorld
from iec104_world import SP, T_NS, TAG, Asdu, InformationObject, World

import scl
from gateway.iec104.asdu import COMMANDS, Cause, TypeID, decode_header, encode, tag_of, untagged
from gateway.iec104.image import Control, Image, Monitored
from gateway.iec104.station import PARAMETERS, SERVED_CAUSES
from gateway.interoperability import of_centre, of_rtu
from gateway.site import read_site

SAMPLE = Path(scl.__file__).parent / "samples" / "two_source_104.toml"
VALUES = {TypeID.C_DC_NA_1: 1, TypeID.C_RC_NA_1: 1, TypeID.C_SC_NA_1: True, TypeID.C_TS_TA_1: 0xAA}
QUALIFIERS = {TypeID.C_IC_NA_1: 20, TypeID.C_CI_NA_1: 5, TypeID.C_RP_NA_1: 1, TypeID.P_ME_NA_1: 1}
QUALIFIERS |= {TypeID.P_ME_NB_1: 1, TypeID.P_ME_NC_1: 1, TypeID.P_AC_NA_1: 1}
WHOLE = range(100, 108)


@pytest.fixture(scope="module")
def site():
    return read_site(SAMPLE).iec104()


@pytest.fixture(scope="module")
def centre(site):
    return site[0][0]


@pytest.fixture
def told(centre):
    return of_centre(centre)


def values(typeID):
    plain = untagged(typeID)
    if plain in (TypeID.C_SE_NA_1, TypeID.C_SE_NC_1, TypeID.P_ME_NA_1, TypeID.P_ME_NC_1):
        return 0.5
    default = 1 if plain in COMMANDS or typeID in (TypeID.P_ME_NB_1, TypeID.C_TS_NA_1) else None
    return VALUES.get(plain, default)


@pytest.fixture
def world(centre):
    """The station of the sample, a master on it, and a device that does what it is told and decides nothing else."""
    rows = centre.config.rows
    image = Image(
        (Monitored(r.CA, r.IOA, r.typeID, r.groups, r.cyclic, r.background) for r in rows if not r.control),
        (Control(r.CA, r.IOA, untagged(r.typeID), r.name, r.select) for r in rows if r.control),
    )
    world = World(image)
    world.master = world.connect(k=1000, w=1)
    world.told.clear()
    return world


def say(world, asdu):
    told = world.say(world.master, asdu)
    for _ in range(2):
        while world.desk.requests:
            request = world.desk.requests.pop(0)
            world.desk.confirm(request.number, world.now)
            if request.step == "execute":
                world.desk.terminate(request.number)
        while world.station.asked:
            world.station.answer(world.station.asked.pop(0).number, why="this device decides nothing")
        told += world.hear(world.master)
    return told


def order(world, centre, typeID, cause=Cause.ACTIVATION, *, CA=None, IOA=None, select=False):
    """An ASDU of a type, at the address of a control, or measured value, that it can be for, if there is one."""
    rows = centre.config.rows
    if typeID in COMMANDS:
        fit = [row for row in rows if row.control and untagged(row.typeID) is untagged(typeID)]
    elif typeID < 110 and typeID != TypeID.C_RD_NA_1:
        fit = []
    else:
        measured = PARAMETERS.get(typeID)
        fit = [row for row in rows if not row.control and measured in (None, untagged(row.typeID))]
    place = fit[0].IOA if fit else 0 if typeID in WHOLE else 9
    qualifier = QUALIFIERS.get(typeID, 0) | (0x80 if select else 0)
    one = InformationObject(place if IOA is None else IOA, values(typeID), qualifier, TAG if tag_of(typeID) else None)
    return Asdu(typeID, cause, rows[0].CA if CA is None else CA, (one,))


def answers(told, typeID):
    return [(asdu.cause, asdu.negative) for asdu in told if asdu.typeID is typeID]


def test_each_type_and_cause_that_is_claimed_in_control_direction_is_served(world, centre, told):
    claimed = [typeID for typeID in told.matrix if typeID in SERVED_CAUSES]
    assert {TypeID.C_DC_NA_1, TypeID.C_DC_TA_1, TypeID.C_IC_NA_1, TypeID.C_RD_NA_1} <= set(claimed)
    for typeID in claimed:
        causes = told.matrix[typeID]
        heard = set()
        if Cause.REQUESTED in causes:
            found = say(world, order(world, centre, typeID, Cause.REQUESTED))
            assert [asdu.cause for asdu in found] == [Cause.REQUESTED]
            heard.add(Cause.REQUESTED)
        if Cause.ACTIVATION in causes:
            if typeID in COMMANDS:
                assert answers(say(world, order(world, centre, typeID, select=True)), typeID) == [(7, False)]
            found = answers(say(world, order(world, centre, typeID)), typeID)
            assert not any(negative for _, negative in found)
            heard |= {Cause.ACTIVATION} | {cause for cause, _ in found}
        if Cause.DEACTIVATION in causes:
            if typeID in COMMANDS:
                say(world, order(world, centre, typeID, select=True))
                found = answers(say(world, order(world, centre, typeID, Cause.DEACTIVATION)), typeID)
                assert found == [(Cause.DEACTIVATION_CON, False)]
            else:  # nothing runs any more: it is understood, and there is nothing to stop
                found = answers(say(world, order(world, centre, typeID, Cause.DEACTIVATION)), typeID)
                assert found == [(Cause.DEACTIVATION_CON, True)]
            heard |= {Cause.DEACTIVATION, Cause.DEACTIVATION_CON}
        wrong = {
            Cause.UNKNOWN_CAUSE: order(world, centre, typeID, Cause.FILE),
            Cause.UNKNOWN_CA: order(world, centre, typeID, min(SERVED_CAUSES[typeID]), CA=777),
            Cause.UNKNOWN_IOA: order(world, centre, typeID, min(SERVED_CAUSES[typeID]), IOA=7),
        }
        for cause, asdu in wrong.items():
            assert answers(say(world, asdu), typeID) == [(cause, True)]
            heard.add(cause)
        assert heard == causes, typeID.name


def test_no_other_cause_of_a_used_type_is_served(world, centre, told):
    for typeID in [typeID for typeID in told.matrix if typeID in SERVED_CAUSES]:
        for cause in set(range(1, 48)) - told.matrix[typeID]:
            assert answers(say(world, order(world, centre, typeID, cause)), typeID) == [(Cause.UNKNOWN_CAUSE, True)]


def test_what_is_marked_as_not_used_is_refused_with_the_cause_that_the_list_says(world, centre, told):
    assert len(told.refused) >= 15
    for typeID, cause in told.refused.items():
        assert answers(say(world, order(world, centre, typeID)), typeID) == [(cause, True)], typeID.name
    for number in (*range(120, 128), 44, 200):
        octets = bytes((number, 1, 6, 0, 1, 0, 0, 0, 0, 0))
        world.masters[world.master].send(octets, world.now)
        world.up(world.master)
        replies = [out for _, out, _ in world.station.data_to_send()]
        assert bytes((number, 1, 0x40 | Cause.UNKNOWN_TYPE, 0)) in b"".join(replies)


def test_every_type_in_control_direction_is_either_used_or_refused(told):
    commanding = {typeID for typeID in TypeID if typeID >= 45 and typeID is not TypeID.M_EI_NA_1}
    assert commanding == {typeID for typeID in told.matrix if typeID in commanding} | told.refused.keys()
    assert not told.matrix.keys() & told.refused.keys()


def test_interrogations_and_scans_tell_the_types_and_causes_of_the_list(world, centre, told):
    heard = {}
    for qualifier in range(20, 37):
        asdu = order(world, centre, TypeID.C_IC_NA_1)
        for reply in say(world, asdu._replace(objects=(InformationObject(0, None, qualifier),))):
            if reply.typeID < 45:
                heard.setdefault(reply.typeID, set()).add(reply.cause)
    for request in range(1, 6):
        asdu = order(world, centre, TypeID.C_CI_NA_1)
        for reply in say(world, asdu._replace(objects=(InformationObject(0, None, request),))):
            if reply.typeID < 45:
                heard.setdefault(reply.typeID, set()).add(reply.cause)
    for background in (False, True):
        world.station._scan(background=background)
        for reply in world.hear(world.master):
            heard.setdefault(reply.typeID, set()).add(reply.cause)
    not_asked = {Cause.SPONTANEOUS, Cause.REQUESTED}
    monitored = {t: c - not_asked for t, c in told.matrix.items() if t < 45 and c - not_asked}
    assert heard == monitored
    assert Cause.GROUP_1 in heard[TypeID.M_DP_NA_1]
    assert heard[TypeID.M_IT_NA_1] == {Cause.COUNTER_GENERAL, Cause.COUNTER_1}
    assert Cause.BACKGROUND in heard[TypeID.M_DP_NA_1]
    assert Cause.PERIODIC in heard[TypeID.M_ME_NB_1]


def marked(told, title):
    return {
        item.text: item.value or item.used
        for section in told.sections
        if section.title == title
        for item in section.items
    }


def test_commands_are_served_as_the_list_says_with_each_qualifier(world, centre, told):
    said = marked(told, "Command transmission")
    assert said["Select and execute command"]
    assert not said["Direct command transmission"]
    assert answers(say(world, order(world, centre, TypeID.C_DC_NA_1)), TypeID.C_DC_NA_1) == [(7, True)]
    kinds = ("No additional definition", "Short-pulse duration", "Long-pulse duration", "Persistent output")
    for qualifier, kind in enumerate(kinds):
        for select, expected in ((True, [(7, False)]), (False, [(7, False), (10, False)])):
            asdu = order(world, centre, TypeID.C_DC_NA_1, select=select)
            one = asdu.objects[0]
            asdu = asdu._replace(objects=(one._replace(qualifier=one.qualifier | qualifier << 2),))
            assert (answers(say(world, asdu), TypeID.C_DC_NA_1) == expected) is said[kind]


def test_where_no_select_is_asked_for_there_may_be_one_all_the_same(centre):
    rows = [replace(row, select=False) for row in centre.config.rows]
    free = replace(centre, config=replace(centre.config, rows=rows))
    said = marked(of_centre(free), "Command transmission")
    assert said["Direct command transmission"]
    assert said["Select and execute command"]
    controls = [Control(row.CA, row.IOA, untagged(row.typeID), row.name) for row in rows if row.control]
    world = World(Image([Monitored(1, 1, SP)], controls))
    world.master = world.connect()
    world.hear(world.master)
    for select in (False, True, False):
        found = answers(say(world, order(world, free, TypeID.C_DC_NA_1, select=select)), TypeID.C_DC_NA_1)
        assert found == ([(7, False)] if select else [(7, False), (10, False)])


def test_a_command_is_as_old_as_the_list_says_and_no_older(centre, told):
    limit = marked(told, "Command transmission")["Supervision of maximum delay of commands and set-point commands"]
    assert limit == "30 s"
    rows = [row for row in centre.config.rows if row.control]
    image = Image([Monitored(1, 1, SP)], (Control(r.CA, r.IOA, untagged(r.typeID), r.name, r.select) for r in rows))
    world = World(image, command_age_s=centre.config.station.command_age_s)
    world.master = world.connect()
    for age_s, negative in ((29, False), (31, True)):
        world.hear(world.master)
        world.utc_ns = T_NS + age_s * 10**9
        asdu = order(world, centre, TypeID.C_DC_TA_1, select=True)
        assert answers(say(world, asdu), TypeID.C_DC_TA_1) == [(7, negative)]
        say(world, order(world, centre, TypeID.C_DC_TA_1, Cause.DEACTIVATION, select=True))


def test_the_list_says_whose_time_the_time_tags_tell(site):
    for centre, zone in zip(site[0], ("Europe/Sarajevo", "UTC"), strict=True):
        said = marked(of_centre(centre), "Clock synchronization")
        assert said["Time tags tell the time of"] == zone
        assert said["SU bit (summer time) used"] is (zone != "UTC")


def test_what_is_asked_of_a_field_device_is_what_the_list_claims(site):
    """All that is sent to it: at the start, for a command, and to cancel a selection."""
    (rtu,) = site[1]
    world = FieldWorld(rtu.config)
    sent = {}

    def take():
        for octets in world.asdus:
            header = decode_header(octets, rtu.config.settings.sizes)
            sent.setdefault(header.typeID, set()).add(header.cause)
        last = world.asdus[-1:]
        world.asdus.clear()
        return last

    take()
    for number, step in enumerate(("select", "cancel", "select", "execute"), 1):
        world.operate(number, step, "BRAVO/T1.Pos", value=True)
        world.asdus = take()
        world.answer(Cause.DEACTIVATION_CON if step == "cancel" else Cause.ACTIVATION_CON)
    take()
    claimed = {
        typeID: causes & {5, 6, 8} for typeID, causes in of_rtu(rtu).matrix.items() if typeID > 70 or 45 <= typeID < 70
    }
    assert sent == claimed
    assert sent[TypeID.C_DC_TA_1] == {Cause.ACTIVATION, Cause.DEACTIVATION}


def test_what_a_field_device_may_tell_by_the_list_is_taken(site):
    (rtu,) = site[1]
    values = {TypeID.M_DP_NA_1: 2, TypeID.M_ME_NB_1: 7, TypeID.M_IT_NA_1: 9}
    told = {(untagged(point.rule.typeID)): point for point in rtu.config.points}
    for typeID, causes in of_rtu(rtu).matrix.items():
        point = told.get(untagged(typeID))
        for cause in causes if point else ():
            world = FieldWorld(rtu.config)
            tag = TAG if tag_of(typeID) else None
            one = InformationObject(point.IOA, values[untagged(typeID)], 0, tag)
            world.say(encode(Asdu(typeID, cause, 31, (one,))))
            assert [name for name, _ in world.outlet.told] == [point.rule.name], (typeID, cause)


def test_the_list_of_a_field_device_is_what_its_section_asks_for(site):
    text = of_rtu(site[1][0]).markdown()
    for said in (
        "[X] <37> M_IT_TB_1",
        "[X] <103> C_CS_NA_1",
        "[X] <59> C_DC_TA_1",
        "connects to 192.0.2.11, port 2404",
    ):
        assert said in text
    assert "[ ] <46> C_DC_NA_1" in text
    assert "[ ] Counter freeze without reset" in text


def test_sizes_that_104_does_not_have_are_marked_where_the_standard_strikes_them_out(site):
    text = of_centre(site[0][1]).markdown()
    assert "- [X] ~~one octet~~" in text
    assert "k (12): 6" in text


def test_the_committed_list_of_the_sample_is_up_to_date(told):
    file = Path(__file__).parents[3] / "docs" / "iec104-interoperability.md"
    assert file.read_text(encoding="utf-8") == told.markdown()
