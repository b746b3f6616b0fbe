"""Distributed self-healing: how agents locate, isolate and restore, as pure decisions.

``feeder``   the network as an agent needs it: switches, sections, islands, paths to sources
``records``  what an agent publishes, as values
``wire``     those values as the allData of the fast and the slow data set
``machines`` the state machines, as tables
``views``    what an agent knows of the others, and what counts as fresh
``picture``  who fed whom and who drew what before the fault
``locate``   pickups, answers, declarations
``isolate``  locks, opening, clear requests, widening
``reflex``   the one decision that does not wait for its turn: tripping on a clear request
``reclose``  reclosing shots
``claimant`` which islands to see served, and how: claims, choice, requests, grants
``choice``   which ties take an island, and where it is split for them
``closer``   promises, the one attempt each, the guard before every close
``capacity`` what a tie can offer; the ledgers of heads and of owners of what is shared
``tasks``    what is done without a fault: operator's close, return to normal, loss of supply
``orders``   to the own switch, and what became of them
``stored``   what must not be forgotten
``publish``  what is said, put together from all that
``agent``    one switch's agent: inputs and states in; states, commands, durable records and journal out
"""
