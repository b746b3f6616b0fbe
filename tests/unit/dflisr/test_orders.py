"""Orders to the own switch, and what the process's word makes of them."""

from __future__ import annotations

from ied_agents.control.decision import Behaviour, SwitchCondition
from ied_agents.dflisr.orders import Orders
from ied_agents.dflisr.records import EventId
from ied_agents.iec61850.dbpos import Dbpos

CLOSED = SwitchCondition(
    known_open=False,
    known_closed=True,
    close_outstanding=False,
    locked=False,
    proven=True,
    behaviour=Behaviour.ON,
    tags=0,
)


def test_what_a_switch_once_tripped_for_is_over_when_it_has_closed_again(network):
    orders = Orders(network.feeder().by_number[1], 0.0)
    assert orders.open(EventId(2, 65), CLOSED, 3000.0, 1.0, protecting=True) is not None
    orders.tripped_by_delay = True
    orders.closed(Dbpos.OFF, 1.1)
    assert (orders.tripped_at, orders.tripped_by_delay) == (1.0, True)
    orders.closed(Dbpos.ON, 2.0)
    assert (orders.tripped_at, orders.tripped_by_delay) == (None, False)
