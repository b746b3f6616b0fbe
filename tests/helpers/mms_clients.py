"""MMS clients of different makers behind one face, so that a test need be written but once."""

from __future__ import annotations

import time
from typing import NamedTuple

from open61850.mms import control, rcb, report
from open61850.mms.client import MmsClient as PureClient
from open61850.mms.reference import ObjectName

from ied_agents.iec61850.data import BitString, Structure
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.mms.client import MmsClient, Reference
from ied_agents.mms.client_control import Control, ControlRefusedError
from ied_agents.mms.client_report import Subscription


class RefusedError(Exception):
    def __init__(self, stage, add_cause):
        super().__init__(stage, add_cause)
        self.stage, self.add_cause = stage, add_cause


class Seen(NamedTuple):
    """A report: its EntryID, and of its first member value and time."""

    entryID: bytes
    member: int
    value: bytes
    t: float


class Open61850:
    """Pure Python, shares no code with ours."""

    def __init__(self, port, timeout_s=5.0):
        self.client = PureClient.connect("127.0.0.1", port, timeout=timeout_s)

    def close(self):
        self.client.close()

    def nodes(self, device):
        return {name.partition("$")[0] for name in self.client.get_name_list(0, device)}

    def read(self, item):
        return self.client.read(item).value

    def members(self, device, data_set):
        return [member.item for member in self.client.get_data_set_members(ObjectName(f"LLN0${data_set}", device))]

    def operate(self, reference, value, *, select=True, orCat=2, test=False, termination_s=10.0):
        how = {} if select else {"ctl_model": control.CTL_MODEL_DIRECT_ENHANCED}
        origin = control.Origin(category=orCat, ident=b"test")
        try:
            control.operate(
                self.client, reference, value, origin=origin, test=test, termination_timeout=termination_s, **how
            )
        except control.ControlError as error:
            last = error.last_appl_error
            raise RefusedError(error.stage, None if last is None else last.add_cause) from None

    def enable(self, block, after=None):
        reports = []

        def take(message):
            told = report.decode_report(message)
            if told.entries:
                position, _, t = told.entries[0].value.members[:3]
                member = told.inclusion.index(True)
                reports.append(Seen(told.entry_id, member, position.value, t.value.timestamp()))

        self.client.add_report_listener(take)
        device, _, item = block.partition("/")
        # To write its configuration anew would purge what is buffered (IEC 61850-7-2).
        how = {"trg_ops": None, "opt_flds": None, "intg_pd_ms": None, "general_interrogation": False}
        settings = rcb.RcbSettings(**how, **({"entry_id": after} if after else {}))
        rcb.enable(self.client, ObjectName(item.replace(".", "$"), device), settings)
        return reports


class Libiec61850:
    """Our own client, over the C client of libiec61850."""

    def __init__(self, port, timeout_s=5.0):
        self.client = MmsClient("127.0.0.1", port, timeout_s=timeout_s)

    def close(self):
        self.client.close()

    def nodes(self, device):
        return set(self.client.nodes(device))

    def read(self, item):
        return _octets(self.client.read(item))

    def members(self, device, data_set):
        found = [Reference.read(member) for member in self.client.data_set_members(f"{device}/LLN0.{data_set}")]
        return ["$".join([one.path.split(".")[0], one.fc, *one.path.split(".")[1:]]) for one in found]

    def operate(self, reference, value, *, select=True, orCat=2, test=False, termination_s=10.0):
        try:
            with Control(self.client, reference, orCat=orCat, test=test) as operated:
                if select:
                    operated.execute(value, termination_s=termination_s)
                else:
                    operated.operate(value, termination_s=termination_s)
        except ControlRefusedError as error:
            raise RefusedError(error.stage, error.add_cause) from None

    def enable(self, block, after=None):
        reports = []

        def take(told):
            for place, member in enumerate(subscribed_members):
                value = told.values.get(member)
                if isinstance(value, Structure) and isinstance(value[2], UtcTime):
                    reports.append(Seen(told.entryID, place, _octets(value[0]), value[2].to_seconds()))
                    return

        subscribed_members = self.client.data_set_members(f"{block.partition('/')[0]}/LLN0.status")
        Subscription(self.client, block, take, after=after)
        return reports


def _octets(value):
    """A bit string as on the wire, anything else as it is."""
    if isinstance(value, BitString):
        padding = -value.size % 8
        return (value.value << padding).to_bytes((value.size + padding) // 8, "big")
    return value


CLIENTS = {"open61850": Open61850, "libiec61850": Libiec61850}


def wait_for(reports, count, patience_s=5.0):
    until = time.monotonic() + patience_s
    while len(reports) < count and time.monotonic() < until:
        time.sleep(0.01)
    assert len(reports) >= count
    return reports
