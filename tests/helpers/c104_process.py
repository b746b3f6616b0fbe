"""c104 (GPL-3.0, and able to end its process) in a process of its own; asked by lines of JSON, answers each with one.

``c104_process.py server|client``, and as the first line a setup: ``monitored`` and ``controls`` (type names by
address), ``selected`` (addresses to be selected first), ``parameters`` (of the link), ``deaf`` (values are kept, not
heard), of a client ``port``, ``originator`` and ``timeout_ms``, of a server ``refused`` (addresses), ``periodic``
(address to ms), ``returns`` (control to monitored address) and ``tls`` (files, version). Values, quality bits and times
go over the lines as our own information objects have them; times in ms since 1970, qualifiers of commands as c104
counts them.
"""

from __future__ import annotations

import datetime as dt
import json
import socket
import sys
import threading
import time

import c104

TICK_MS = 50
CA = 1
PATIENCE_S = 120


class Messages:
    """What came, from c104's threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._messages = []

    def add(self, **message):
        with self._lock:
            self._messages.append(message)

    def taken(self):
        with self._lock:
            messages, self._messages = self._messages, []
        return messages


heard = Messages()


# -- information, to and from what goes over the lines -------------------------------------------------------------


def described(info):
    """Value, qualifier (quality, or what a command has), elapsed time and time of an information."""
    qualifier = getattr(info, "qualifier", info.quality)
    qualifier = 0 if qualifier is None else int(getattr(qualifier, "value", qualifier))
    value, elapsed_ms = info.value, 0
    match info:
        case c104.StepInfo():
            value = [int(info.position), info.transient]
        case c104.BinaryInfo() | c104.BinaryCmd():
            value = int(str(info.blob), 2)
        case c104.NormalizedInfo() | c104.NormalizedCmd():
            value = float(value)
        case c104.ScaledInfo() | c104.ScaledCmd():
            value = int(value)
        case c104.BinaryCounterInfo():
            value, qualifier = info.counter, qualifier | int(info.sequence)
        case c104.DoubleInfo() | c104.DoubleCmd() | c104.StepCmd():
            value = value.value
        case c104.ProtectionEventInfo():
            value, elapsed_ms = value.value, info.elapsed_ms
        case c104.ProtectionStartInfo():
            value, elapsed_ms = value.value, info.relay_duration_ms
        case c104.ProtectionCircuitInfo():
            value, elapsed_ms = int(value.value), info.relay_operating_ms
        case c104.StatusAndChanged():
            value = info.status.value | info.changed.value << 16
    at = info.recorded_at
    at_ms = None if at is None else round(at.timestamp() * 1000)
    return {"value": value, "qualifier": qualifier, "elapsed_ms": int(elapsed_ms), "at_ms": at_ms}


def flags(kind, bits):
    """An enumeration of flags by its bits."""
    out = kind()
    for flag in kind.__members__.values():
        if flag.value & bits:
            out |= flag
    return out


def information(kind, value, qualifier=0, elapsed_ms=0, at_ms=None):
    """The other way round."""
    at = None if at_ms is None else dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC)
    family = kind[:7]
    if family in {"M_IT_NA", "M_IT_TB"}:
        quality = flags(c104.BinaryCounterQuality, qualifier & 0xE0)
        return c104.BinaryCounterInfo(value, c104.UInt5(qualifier & 0x1F), quality, at)
    quality = flags(c104.Quality, qualifier)
    level = c104.UInt7(qualifier & 0x7F)
    pulse = next(one for one in c104.Qoc.__members__.values() if one.value == qualifier & 3)
    elapsed = c104.UInt16(elapsed_ms)
    match family:
        case "M_SP_NA" | "M_SP_TB":
            return c104.SingleInfo(value, quality, at)
        case "M_DP_NA" | "M_DP_TB":
            return c104.DoubleInfo(c104.Double(value), quality, at)
        case "M_ST_NA" | "M_ST_TB":
            return c104.StepInfo(c104.Int7(value[0]), value[1], quality, at)
        case "M_BO_NA" | "M_BO_TB":
            return c104.BinaryInfo(c104.Byte32(value), quality, at)
        case "M_ME_NA" | "M_ME_TD" | "M_ME_ND":
            return c104.NormalizedInfo(c104.NormalizedFloat(value), quality, at)
        case "M_ME_NB" | "M_ME_TE":
            return c104.ScaledInfo(c104.Int16(value), quality, at)
        case "M_ME_NC" | "M_ME_TF":
            return c104.ShortInfo(value, quality, at)
        case "M_PS_NA":
            status, changed = flags(c104.PackedSingle, value & 0xFFFF), flags(c104.PackedSingle, value >> 16)
            return c104.StatusAndChanged(status, changed, quality, at)
        case "M_EP_TD":
            return c104.ProtectionEventInfo(c104.EventState(value), elapsed, quality, at)
        case "M_EP_TE":
            return c104.ProtectionStartInfo(flags(c104.StartEvents, value), elapsed, quality, at)
        case "M_EP_TF":
            return c104.ProtectionCircuitInfo(flags(c104.OutputCircuits, value), elapsed, quality, at)
        case "C_SC_NA" | "C_SC_TA":
            return c104.SingleCmd(value, pulse, at)
        case "C_DC_NA" | "C_DC_TA":
            return c104.DoubleCmd(c104.Double(value), pulse, at)
        case "C_RC_NA" | "C_RC_TA":
            return c104.StepCmd(c104.Step(value), pulse, at)
        case "C_SE_NA" | "C_SE_TA":
            return c104.NormalizedCmd(c104.NormalizedFloat(value), level, at)
        case "C_SE_NB" | "C_SE_TB":
            return c104.ScaledCmd(c104.Int16(value), level, at)
        case "C_SE_NC" | "C_SE_TC":
            return c104.ShortCmd(value, level, at)
        case "C_BO_NA" | "C_BO_TA":
            return c104.BinaryCmd(c104.Byte32(value), at)
    raise ValueError(kind)


# -- callbacks: c104 looks at their annotations, which must be the classes themselves --------------------------------


def annotated(callback, *classes, back=None):
    names = callback.__code__.co_varnames[: callback.__code__.co_argcount]
    callback.__annotations__ = {**dict(zip(names, classes, strict=True)), "return": back}
    return callback


def listen(point, answer):
    def on_receive(point, previous_info, message):
        heard.add(
            ioa=point.io_address,
            type=message.type.name,
            cause=message.cot.name,
            test=message.is_test,
            select=message.is_select_command,
            originator=message.originator_address,
            **described(message.info),
        )
        return answer

    classes = c104.Point, c104.Information, c104.IncomingMessage
    point.on_receive(callable=annotated(on_receive, *classes, back=c104.ResponseState))


def hear_unexpected(of):
    def add(message, cause):
        heard.add(unexpected=cause.name, type=message.type.name, cause=message.cot.name, negative=message.is_negative)

    def by_server(server, message, cause):
        add(message, cause)

    def by_connection(connection, message, cause):
        add(message, cause)

    callback = by_server if isinstance(of, c104.Server) else by_connection
    of.on_unexpected_message(callable=annotated(callback, type(of), c104.IncomingMessage, c104.Umc))


def add_points(station, setup, answers):
    points = {}
    for ioa, kind in {**setup["monitored"], **setup["controls"]}.items():
        more = {}
        if ioa in setup.get("selected", ()):
            more["command_mode"] = c104.CommandMode.SELECT_AND_EXECUTE
        if ioa in setup.get("periodic", {}):
            more["report_ms"] = setup["periodic"][ioa]
        if ioa in setup.get("returns", {}):
            more |= {"related_io_address": setup["returns"][ioa], "related_io_autoreturn": True}
        points[ioa] = station.add_point(io_address=ioa, type=getattr(c104.Type, kind), **more)
        if ioa in answers and not setup.get("deaf"):
            listen(points[ioa], answers[ioa])
    return points


def values(points, setup):
    """Of all monitored points, as they stand."""
    return {ioa: described(points[ioa].info)["value"] for ioa in setup["monitored"]}


def serve_lines(answer, tend=lambda: None):
    for line in sys.stdin:
        asked = json.loads(line)
        tend()
        do = asked.pop("do")
        print(json.dumps({"heard": heard.taken()} if do == "hear" else {"said": answer(do, **asked)}), flush=True)


def security(setup):
    files = setup.get("tls")
    if files is None:
        return None
    tls = c104.TransportSecurity(validate=True, only_known=False)
    tls.set_certificate(cert=files["certificate"], key=files["key"])
    tls.set_ca_certificate(cert=files["authority"])
    version = getattr(c104.TlsVersion, files["version"])
    tls.set_version(min=version, max=version)
    if files["version"] == "TLS_1_2":
        tls.set_ciphers(ciphers=[c104.TlsCipher.ECDHE_ECDSA_WITH_AES_128_GCM_SHA256])
    else:
        tls.set_ciphers(ciphers=[c104.TlsCipher.TLS1_3_AES_128_GCM_SHA256])
    return tls


# -- both roles --------------------------------------------------------------------------------------------------------


def serve(setup):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = c104.Server(ip="127.0.0.1", port=port, tick_rate_ms=TICK_MS, transport_security=security(setup))
    for name, value in setup.get("parameters", {}).items():
        setattr(server.protocol_parameters, name, value)
    station = server.add_station(common_address=CA)
    answers = dict.fromkeys(setup["controls"], c104.ResponseState.SUCCESS)
    answers |= dict.fromkeys(setup.get("refused", ()), c104.ResponseState.FAILURE)
    points = add_points(station, setup, answers)
    hear_unexpected(server)

    def on_clock_sync(server, ip, date_time):
        heard.add(clock_ms=round(date_time.timestamp() * 1000))
        return c104.ResponseState.SUCCESS

    server.on_clock_sync(
        callable=annotated(on_clock_sync, c104.Server, str, dt.datetime, back=c104.ResponseState),
    )
    server.start()
    print(json.dumps({"port": port}), flush=True)

    def answer(do, **asked):
        match do:
            case "set":
                ioa, cause = asked.pop("ioa"), asked.pop("cause", None)
                kind = setup["monitored"][ioa]
                points[ioa].info = information(kind, **asked)
                return points[ioa].transmit(cause=getattr(c104.Cot, cause)) if cause else True
            case "batch":
                cause = c104.Cot.SPONTANEOUS
                return server.transmit_batch(c104.Batch(cause=cause, points=[points[ioa] for ioa in asked["ioas"]]))
            case "initialized":
                station.signal_initialized(cause=getattr(c104.Coi, asked["cause"]))
                return True
            case "open":
                return server.open_connection_count, server.active_connection_count
        raise ValueError(do)

    serve_lines(answer)
    server.stop()


def be_client(setup):
    client = c104.Client(tick_rate_ms=TICK_MS, command_timeout_ms=setup.get("timeout_ms", 5000))
    client.originator_address = setup.get("originator", 0)
    connection = client.add_connection(ip="127.0.0.1", port=setup["port"], init=c104.Init.NONE)
    for name, value in setup.get("parameters", {}).items():
        setattr(connection.protocol_parameters, name, value)
    station = connection.add_station(common_address=CA)
    points = add_points(station, setup, dict.fromkeys(setup["monitored"], c104.ResponseState.SUCCESS))
    hear_unexpected(connection)

    def on_station_initialized(client, station, cause):
        heard.add(initialized=cause.name)

    client.on_station_initialized(
        callable=annotated(on_station_initialized, c104.Client, c104.Station, c104.Coi),
    )
    client.start()

    muted = False

    def start():
        """After some reconnects c104 forgets to send STARTDT."""
        if connection.state == c104.ConnectionState.OPEN_MUTED and not muted:
            connection.unmute()

    def opened():
        deadline = time.monotonic() + PATIENCE_S
        while connection.state != c104.ConnectionState.OPEN and time.monotonic() < deadline:
            start()
            time.sleep(0.02)
        return connection.state == c104.ConnectionState.OPEN

    print(json.dumps({"open": opened()}), flush=True)

    def answer(do, **asked):
        nonlocal muted
        where = asked.pop("CA", CA)
        match do:
            case "command":
                ioa, cause = asked.pop("ioa"), asked.pop("cause", "ACTIVATION")
                points[ioa].info = information(setup["controls"][ioa], **asked)
                return points[ioa].transmit(cause=getattr(c104.Cot, cause))
            case "interrogate":
                group = asked.get("group", 0)
                qoi = getattr(c104.Qoi, f"GROUP_{group}" if group else "STATION")
                cause = getattr(c104.Cot, asked.get("cause", "ACTIVATION"))
                return connection.interrogation(common_address=where, qualifier=qoi, cause=cause)
            case "counters":
                group = asked.get("group", 0)
                rqt = getattr(c104.Rqt, f"GROUP_{group}" if group else "GENERAL")
                frz = getattr(c104.Frz, asked.get("freeze", "READ"))
                return connection.counter_interrogation(common_address=where, qualifier=rqt, freeze=frz)
            case "clock":
                return connection.clock_sync(common_address=where)
            case "test":
                return connection.test(common_address=where, with_time=asked.get("with_time", True))
            case "read":
                return points[asked["ioa"]].read()
            case "mute":
                muted = True
                return connection.mute()
            case "unmute":
                muted = False
                return connection.unmute()
            case "opened":
                return opened()
            case "state":
                return connection.state.name
            case "values":
                return described(points[max(points)].info)["value"] if asked.get("last") else values(points, setup)
        raise ValueError(do)

    serve_lines(answer, start)
    client.stop()


if __name__ == "__main__":
    asked_for = json.loads(sys.stdin.readline())
    for table in ("monitored", "controls", "periodic", "returns"):
        asked_for[table] = {int(ioa): kind for ioa, kind in asked_for.get(table, {}).items()}
    (serve if sys.argv[1] == "server" else be_client)(asked_for)
