"""MQTT with a real Mosquitto, and a subscriber that is paho-mqtt alone."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import subprocess

import pytest
from authorities import Authority
from mqtt_world import BREAKER, LAMP, POWER, SELECTED, TOPICS, ago, command, gateway, until
from schemas import faults

from gateway.iec104.commands import CommandSettings
from ied_agents.iec61850.quality import Quality, Validity
from ied_agents.runtime.tls import named_server_context
from tools.loss.mosquitto import Mosquitto, missing
from tools.loss.mqtt_subscriber import Subscriber

OLD = Quality(Validity.QUESTIONABLE, oldData=True).to_int()


@pytest.fixture
def make_broker(tmp_path, require):
    """``make_broker(more)``: a running Mosquitto."""
    require(not missing(), missing())
    made = []

    def make(more="", **options):
        broker = Mosquitto(tmp_path / f"mosquitto{len(made)}", more, **options)
        made.append(broker)
        broker.start()
        return broker

    yield make
    for each in made:
        each.kill()


@pytest.fixture
def broker(make_broker):
    return make_broker()


@pytest.fixture
def subscribe():
    """``subscribe(port, *topics)``: a subscriber that is subscribed."""
    made = []

    def make(port, *topics, **options):
        one = Subscriber(port, *topics, **options)
        made.append(one)
        if topics:
            one.wait()
        return one

    yield make
    for each in made:
        each.close()


class Heard:
    """What a subscriber has heard, by topic; each message fits the schema."""

    def __init__(self, subscriber):
        self.messages = subscriber.messages

    def of(self, kind, name=""):
        topic = f"{TOPICS.root}/{kind}" + (f"/{name}" if name else "")
        found = [each.said for each in list(self.messages) if each.topic == topic]
        for each in found:
            what = "unknown_state" if kind == "state" and each["value"] is None else kind
            assert faults(each, what) == []
        return found


async def subscribed(subscribe, port, *topics, **options):
    return await asyncio.to_thread(subscribe, port, *topics, **options)


async def test_values_with_quality_and_device_time_reach_a_subscriber_and_states_are_retained(
    broker, tmp_path, subscribe
):
    first = Heard(await subscribed(subscribe, broker.port, "flisr/#"))
    async with gateway(tmp_path / "log", broker.port) as world:
        await until(lambda: len({each.topic for each in first.messages}) == 5, "status and states")
        assert first.of("state", BREAKER)[-1] == {
            "point": BREAKER,
            "cdc": "DPC",
            "value": None,
            "quality": "invalid",
        }
        world.say(BREAKER, 2)
        world.say(POWER, 1.5, quality=OLD, clock=0x60)
        await until(lambda: first.of("event", POWER) and first.of("event", BREAKER), "events")
        await until(lambda: first.of("state", BREAKER)[-1]["value"] == "on", "the state")
        said = {
            "point": POWER,
            "cdc": "MV",
            "value": 1.5,
            "quality": "questionable|oldData",
            "time": "2026-11-18T11:06:40.123456789Z",
            "clock": "failure|not synchronised",
            "arrived": "2026-11-18T11:06:40.124456789Z",
        }
        (event,) = first.of("event", POWER)
        assert event.pop("sequence") == first.of("event", BREAKER)[0]["sequence"] + 1
        assert event == said
        await until(lambda: not world.waiting, "the acknowledgement")
        await until(lambda: first.of("state", POWER)[-1]["value"] == 1.5, "the state")
        late = await subscribed(subscribe, broker.port, "flisr/#")
        await until(lambda: len(late.messages) >= 5, "what is retained")
        assert all(each.retained for each in late.messages)
        assert Heard(late).of("state", POWER) == [said]
        assert Heard(late).of("status")[0]["status"] == "online"
        assert not Heard(late).of("event", POWER)
    stopped = {"status": "offline", "reason": "the gateway was stopped"}
    await until(lambda: first.of("status")[-1] == stopped, "goodbye")


async def test_a_broker_that_has_forgotten_gets_all_states_and_one_that_is_away_costs_nothing(
    broker, tmp_path, subscribe, caplog
):
    async with gateway(tmp_path / "log", broker.port) as world:
        world.say(BREAKER, 2)
        await until(lambda: not world.waiting, "the acknowledgement")
        broker.kill()
        world.count(1, 2, 3)
        await until(lambda: "not connected" in caplog.text, "what the operator is told")
        await asyncio.sleep(0.5)
        assert world.waiting == 3
        away = world.broker.status()
        assert (away.connected, away.waiting, away.why[:13]) == (False, 3, "not connected")
        await asyncio.to_thread(broker.start)
        heard = Heard(await subscribed(subscribe, broker.port, "flisr/#"))
        await until(lambda: not world.waiting, "the acknowledgement")
        await until(lambda: heard.of("state", BREAKER), "the state")
        await until(lambda: heard.of("state", POWER), "the state")
        assert heard.of("state", BREAKER)[-1]["value"] == "on"
        assert heard.of("state", POWER)[-1]["value"] == 3.0
        back = world.broker.status()
        assert (back.connected, back.waiting, back.why) == (True, 0, "")
        assert back.since_ns > away.since_ns
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(said) == len(set(said)), said
    assert all("events wait in the event log" in each for each in said)


async def test_the_window_of_the_broker_is_kept_and_more_than_one_event_is_under_way(make_broker, tmp_path, subscribe):
    broker = make_broker("max_inflight_messages 7\n")
    heard = await subscribed(subscribe, broker.port, "flisr/+/event/#")
    async with gateway(tmp_path / "log", broker.port) as world:
        feed, most = world.broker._feed, 0
        sent = feed.sent

        def counted(number, publication):
            nonlocal most
            sent(number, publication)
            most = max(most, len(feed._under_way))

        feed.sent = counted
        world.count(*range(1, 2001))
        await until(lambda: not world.waiting, "the acknowledgements")
        assert most == 7
        await until(lambda: len(heard.messages) == 2000, "the events")
        assert [each.said["value"] for each in heard.messages] == list(range(1, 2001))


# -- commands -------------------------------------------------------------------------------------------------------


async def asks(client, name, payload, **more):
    await asyncio.to_thread(client.publish, f"{TOPICS.root}/command/{name}", payload, **more)


class Client:
    """Who commands, and waits for final replies."""

    def __init__(self, subscriber):
        self.subscriber = subscriber

    async def command(self, name, payload, *, correlation, **more):
        """All replies to it, up to the final one."""
        await asks(self.subscriber, name, payload, reply_to="desk/7", correlation=correlation, **more)

        def replies():
            said = [each.said for each in list(self.subscriber.messages) if each.correlation == correlation]
            return said if said and said[-1]["final"] else None

        found = await until(replies, f"a reply to {payload!r:.80}")
        assert [fault for each in found for fault in faults(each, "reply")] == []
        return found


@pytest.fixture
async def desk(broker, subscribe):
    return Client(await subscribed(subscribe, broker.port, "desk/7", "flisr/+/status", "flisr/+/reply/#"))


async def served(client):
    await until(lambda: any(each.topic == TOPICS.status for each in client.subscriber.messages), "the gateway")


async def test_commands_are_answered_with_what_became_of_them(broker, tmp_path, desk):
    settings = CommandSettings(select_s=5.0, confirm_s=0.5, terminate_s=5.0)
    async with gateway(tmp_path / "log", broker.port, settings) as world:
        await served(desk)
        how = world.device.how
        replies = await desk.command(BREAKER, command("on", by="ana", id="k1"), correlation=b"1")
        assert [(each["result"], each["final"], each["id"]) for each in replies] == [
            ("accepted", False, "k1"),
            ("done", True, "k1"),
        ]
        assert world.device.done == [("execute", BREAKER, True, False, "cloud/ana")]
        how[LAMP] = "refuse: NORTH: blocked by interlocking (AddCause 10)"
        (refused,) = await desk.command(LAMP, command(value=True), correlation=b"2")
        assert (refused["result"], refused["reason"]) == ("refused", "NORTH: blocked by interlocking (AddCause 10)")
        how[LAMP] = "fail: NORTH: time limit over (AddCause 16)"
        _, failed = await desk.command(LAMP, command(value=True), correlation=b"3")
        assert (failed["result"], failed["reason"]) == ("failed", "NORTH: time limit over (AddCause 16)")
        how[LAMP] = "ignore"
        (late,) = await desk.command(LAMP, command(value=True), correlation=b"4")
        assert late["result"] == "timed out"
        how[LAMP] = "refuse: NORTH: lost; it may have been executed: its outcome is not known"
        (unknown,) = await desk.command(LAMP, command(value=True), correlation=b"5")
        assert unknown["result"] == "unknown"


async def test_select_before_operate_is_of_who_selected(broker, tmp_path, desk):
    async with gateway(tmp_path / "log", broker.port) as world:
        await served(desk)
        (direct,) = await desk.command(SELECTED, command("off"), correlation=b"0")
        assert "must be selected first" in direct["reason"]
        (selected,) = await desk.command(SELECTED, command("off", step="select", by="ana"), correlation=b"1")
        assert selected["result"] == "selected"
        (other,) = await desk.command(SELECTED, command("off", by="ivo"), correlation=b"2")
        assert "selected by another" in other["reason"]
        replies = await desk.command(SELECTED, command("off", by="ana", test=True), correlation=b"3")
        assert "another value" in replies[-1]["reason"]  # test is part of what was selected; the selection is spoilt
        await desk.command(SELECTED, command("off", step="select", by="ana"), correlation=b"4")
        assert [
            each["result"] for each in await desk.command(SELECTED, command("off", by="ana"), correlation=b"5")
        ] == [
            "accepted",
            "done",
        ]
        await desk.command(SELECTED, command("on", step="select"), correlation=b"6")
        (over,) = await desk.command(SELECTED, command("on", step="cancel"), correlation=b"7")
        assert over["result"] == "cancelled"
        assert [step for step, *_ in world.device.done] == ["select", "cancel", "select", "execute", "select", "cancel"]


async def test_what_must_not_be_executed_is_refused_with_its_reason(broker, tmp_path, desk):
    async with gateway(tmp_path / "log", broker.port) as world:
        await served(desk)
        wrong = {
            b"old": (command("on", age_s=60), "s ago; expected 10 s at most"),
            b"early": (command("on", age_s=-60), "ahead"),
            b"garbage": ("{on", "no JSON"),
            b"binary": (b"\xff\xfe", "no JSON"),
            b"deep": ("[" * 4000, "no JSON"),
            b"list": ("[1]", "expected a JSON object"),
            b"twice": ('{"value": "on", "value": "off"}', "stands twice"),
            b"unknown": (command("on", vlaue=1), "'vlaue' is not known; expected id, step, value, time, by, test"),
            b"timeless": ('{"value": "on"}', "time is missing"),
            b"local": ('{"value": "on", "time": "2026-11-23T08:00:00"}', "offset"),
            b"kind": (command(value=True), 'expected "on" or "off" for a DPC'),
            b"step": (command("on", step="toggle"), "expected operate, select, cancel"),
            b"long": (command("on", by="x" * 5000), "expected 4096 at most"),
        }
        for correlation, (payload, reason) in wrong.items():
            (reply,) = await desk.command(BREAKER, payload, correlation=correlation)
            assert reply["result"] == "refused"
            assert reason in reply["reason"], correlation
        (nobody,) = await desk.command("NORTH/none", command("on"), correlation=b"none")
        assert "no point of this name" in nobody["reason"]
        (power,) = await desk.command(POWER, command(1.0), correlation=b"monitored")
        assert "no point of this name" in power["reason"]
        (kept,) = await desk.command(BREAKER, command("on"), correlation=b"kept", retain=True)
        assert "retained" in kept["reason"]
        for topic in (TOPICS.state(BREAKER), "flisr/south/command/Q1"):
            await asks(desk.subscriber, BREAKER, command("on", id=topic), reply_to=topic)
        replies = await until(
            lambda: [each.said for each in desk.subscriber.messages if each.topic == TOPICS.reply(BREAKER)][1:],
            "replies at the topic of those that have none",
        )
        assert "no reply goes to 'flisr/south/command/Q1'" in replies[0]["reason"]
        assert world.device.done == []


async def test_a_retained_command_is_refused_after_each_start(broker, tmp_path, desk):
    await asks(desk.subscriber, BREAKER, command("on"), correlation=b"k", reply_to="desk/7", retain=True)
    async with gateway(tmp_path / "log", broker.port) as world:
        await until(lambda: any("retained" in each.said.get("reason", "") for each in desk.subscriber.messages))
        assert world.device.done == []


async def test_what_comes_again_is_not_executed_again(broker, tmp_path, desk):
    async with gateway(tmp_path / "log", broker.port) as world:
        await served(desk)
        payload = command("on")
        await desk.command(BREAKER, payload, correlation=b"1")
        replies = await desk.command(BREAKER, payload, correlation=b"1")
        for _ in range(3):
            await asks(desk.subscriber, BREAKER, command("on"), reply_to="desk/7", correlation=b"1")
        repeated = await until(
            lambda: (
                found if len(found := [e.said for e in desk.subscriber.messages if e.correlation == b"1"]) >= 6 else 0
            )
        )
        assert [each.get("repeated", False) for each in repeated] == [False, False, *[True] * 4]
        assert all(each["result"] == "done" for each in repeated[2:])
        assert replies
        await asks(desk.subscriber, BREAKER, command("off"), reply_to="desk/7", correlation=b"1")
        other = await until(
            lambda: next((e.said for e in desk.subscriber.messages if e.said.get("result") == "refused"), None)
        )
        assert "used for another command" in other["reason"]
        assert len(world.device.done) == 1


async def test_commands_are_not_taken_where_the_site_does_not_say_so(broker, tmp_path, desk):
    async with gateway(tmp_path / "one", broker.port):
        await served(desk)
    # The broker knows the gateway, and its subscription, from before.
    async with gateway(tmp_path / "two", broker.port, commands=False) as world:
        await until(lambda: len([e for e in desk.subscriber.messages if e.topic == TOPICS.status]) >= 3)
        await asks(desk.subscriber, BREAKER, command("on"), reply_to="desk/7", correlation=b"1")
        world.count(1)
        await until(lambda: not world.waiting)
        await asyncio.sleep(0.2)
        assert world.device.done == []
    assert not [each for each in desk.subscriber.messages if each.topic == "desk/7"]


async def test_a_command_from_before_the_start_is_not_executed(broker, tmp_path, desk):
    async with gateway(tmp_path / "log", broker.port) as world:
        await served(desk)
    asked = ago()
    payload = json.dumps({"value": "on", "time": asked})
    await asks(desk.subscriber, BREAKER, payload, reply_to="desk/7", correlation=b"1")  # waits at the broker
    async with gateway(tmp_path / "log", broker.port) as world:
        (said,) = await until(lambda: [each.said for each in desk.subscriber.messages if each.topic == "desk/7"])
        assert "has been started since" in said["reason"]
        assert world.device.done == []


# -- who may --------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(make_broker, tmp_path, require):
    """A broker with two users: the gateway may not publish the power, and ``other`` reads all."""
    passwords, rights = tmp_path / "passwords", tmp_path / "rights"
    passwords.touch()
    require(not missing(), missing())
    for user in ("gateway", "other"):
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, f"{user}'s"], check=True, capture_output=True)
    denied = "\n".join(f"topic write {TOPICS.event(each)}" for each in (BREAKER, LAMP))
    rights.write_text(
        f"user gateway\ntopic write flisr/north/status\n{denied}\ntopic write flisr/north/state/#\n"
        "user other\ntopic read #\n"
    )
    return make_broker(f"password_file {passwords}\nacl_file {rights}\n", anonymous=False)


async def test_a_broker_that_refuses_says_so_once_and_gets_all_when_it_does_not(guarded, tmp_path, caplog):
    async with gateway(tmp_path / "log", guarded.port, user="gateway", password="wrong") as world:
        world.say(BREAKER, 2)
        await until(lambda: "refuses us" in caplog.text)
        await asyncio.sleep(1.0)
        assert world.waiting == 1
    said = [record.getMessage() for record in caplog.records if "refuses us" in record.getMessage()]
    assert len(said) == 1, said
    assert "Not authorized" in said[0]
    assert "password_file" in said[0]
    async with gateway(tmp_path / "log", guarded.port, user="gateway", password="gateway's", commands=False) as world:
        await until(lambda: not world.waiting, "the event of before")


async def test_an_event_that_the_broker_does_not_take_is_held_and_told_when_it_does(
    guarded, tmp_path, subscribe, caplog, monkeypatch
):
    monkeypatch.setattr("gateway.adapters.mqtt_feed._HELD_S", 0.2)
    heard = await subscribed(subscribe, guarded.port, "flisr/#", user="other", password="other's")
    who = {"user": "gateway", "password": "gateway's", "commands": False}
    async with gateway(tmp_path / "log", guarded.port, **who) as world:
        world.count(1, 2)
        await until(lambda: "is refused by the broker" in caplog.text)
        await asyncio.sleep(0.5)
        assert world.waiting == 2
        assert caplog.text.count("is refused by the broker") == 1
        rights = tmp_path / "rights"
        rights.write_text(rights.read_text().replace(f"topic write {TOPICS.event(LAMP)}", "topic write flisr/#", 1))
        guarded.kill()
        await asyncio.to_thread(guarded.start)
        await until(lambda: not world.waiting, "the acknowledgements")
    assert heard.messages


# paho leaves a socket whose handshake fails to the garbage collector, which says so.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
async def test_tls_a_broker_of_another_authority_or_name_is_refused(make_broker, tmp_path, caplog):
    ours, theirs = Authority(tmp_path / "ca", "ours"), Authority(tmp_path / "other", "theirs")
    files = ours.issue("localhost")
    tls = f"cafile {files.authority}\ncertfile {files.certificate}\nkeyfile {files.key}\nrequire_certificate true\n"
    broker = make_broker(tls)
    shown = ours.issue("gateway")
    own = shown.certificate, shown.key
    wrong = named_server_context(theirs.folder / "ca.pem", own)
    async with gateway(tmp_path / "log", broker.port, tls=wrong, host="localhost") as world:
        world.count(1)
        await until(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)
        assert world.waiting == 1
    caplog.clear()
    right = named_server_context(files.authority, own)
    async with gateway(tmp_path / "log", broker.port, tls=right, host="127.0.0.1") as world:
        await until(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)
        assert world.waiting == 1
    async with gateway(tmp_path / "log", broker.port, tls=right, host="localhost") as world:
        await until(lambda: not world.waiting, "the acknowledgement")
    assert isinstance(right, ssl.SSLContext)
    assert right.check_hostname
