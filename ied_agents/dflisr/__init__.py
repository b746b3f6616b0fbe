"""Distributed self-healing: how agents locate, isolate and restore, as pure decisions.

``feeder``   the network as an agent needs it: switches, sections, islands, paths to sources
``records``  what an agent publishes, as values
``wire``     those values as the allData of the fast and the slow data set
``views``    what an agent knows of the others, and what counts as fresh
``locate``   pickups, answers, declarations
``isolate``  locks, opening, clear requests
``picture``  who fed whom before the fault
``restore``  claims, promises, grants and the close guard
``capacity`` what a tie can offer; the ledger of the head switch
``orders``   to the own switch, and what became of them
``stored``   what must not be forgotten
``agent``    one switch's agent: inputs and states in; states, commands, durable records and journal out
"""
