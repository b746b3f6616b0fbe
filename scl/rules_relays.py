"""Rules on the relays beside flisr agents: what each side must hear of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scl.agent_model import RELAY, RELAY_CONTROL, RELAY_DATASET
from scl.document import SclError
from scl.equipment import lnodes_of
from scl.relay_inputs import relay_inputs
from scl.relay_model import ORDERS, SIGNALS
from scl.rules_agents import published
from scl.streams import inputs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scl.rules import Checked, Finding
    from scl.substation import LNode
    from scl.topology import Switch

MOST_MAX_TIME_MS: Final = 1000.0
_MARKED: Final = frozenset(("Pos", "Str", "VolA", "VolB"))
_OPERATING: Final = frozenset(("XCBR", "XSWI", "CSWI"))


def relays_hear(checked: Checked) -> Iterator[Finding]:
    """Relays linked to an agent's switch subscribe to its orders and to its lock, to interlock on it.

    An agent that publishes no orders is heard by the relay at all.
    """
    agents = {(ied.name, ldevice.inst): ldevice for ied, ldevice, _ in checked.agents}
    for switch in checked.network[0].switches:
        ldevice = agents[switch.iedName, switch.ldInst]
        publishes = any(control.name == RELAY_CONTROL for control in ldevice.ln0.gse_controls)
        for iedName, lnode in _relays(switch).items():
            relay = checked.ieds.get(iedName)
            if relay is None:
                continue
            taken = {extref.doName for extref in inputs_of(relay) if extref.iedName == switch.iedName}
            missing = [do for do in ORDERS if do not in taken] if publishes else ["anything"] * (not taken)
            if missing:
                message = (
                    f"{iedName} operates {switch.path} and takes no {', '.join(missing)} of its agent {switch.iedName}"
                )
                yield checked.finding("relay-deaf", message, lnode)


def agents_hear(checked: Checked) -> Iterator[Finding]:
    """Inputs of agents from relays can be used, none is missing that an agent needs, and it publishes orders."""
    switches = {(switch.iedName, switch.ldInst): switch for switch in checked.network[0].switches}
    for ied, ldevice, ln in checked.agents:
        try:
            inputs, problems = relay_inputs(checked.goose, ied.name, ln)
        except SclError:
            continue  # reported by the rule that it breaks
        for extref, problem in problems:
            yield checked.finding("relay-input", problem, extref)
        switch = switches.get((ied.name, ldevice.inst))
        if switch is None or not (inputs or problems):
            continue
        known = {each.signal for each in inputs if each.part == "value"}
        for name, signal in SIGNALS.items():
            if signal.needed and name not in known:
                message = f"agent {ied.name} has no input {name} ({signal.meaning}): {signal.needed}"
                yield checked.finding("relay-input-missing", message, ln)
        marked = {each.element for each in inputs if each.part == "quality"}
        for each in inputs:
            if each.part == "value" and each.signal in _MARKED and each.element not in marked:
                message = f"agent {ied.name} takes {each.element} ({each.signal}) without its quality"
                yield checked.finding("relay-quality", message, ln)
        for stream in {each.stream.gocbRef: each.stream for each in inputs}.values():
            if stream.max_time_ms is not None and stream.max_time_ms > MOST_MAX_TIME_MS:
                message = (
                    f"{stream.gocbRef}, which agent {ied.name} takes, repeats every {stream.max_time_ms:g} ms only"
                )
                yield checked.finding("relay-slow", message, stream.control)
        yield from published(checked, ied, ldevice, (RELAY_CONTROL, RELAY_DATASET), RELAY)


def _relays(switch: Switch) -> dict[str, LNode]:
    """Links of a switch to what operates it besides its agent, by IED."""
    return {
        lnode.iedName: lnode
        for lnode in lnodes_of(switch.equipment)
        if lnode.lnClass in _OPERATING and lnode.iedName != switch.iedName
    }


RELAY_CHECKS: Final = (relays_hear, agents_hear)
