"""Distributed self-healing: how agents locate, isolate and restore, as pure decisions.

``feeder``   the network as an agent needs it: switches, sections, islands, paths to sources
``records``  what an agent publishes, as values
``wire``     those values as the allData of the fast and the slow data set
``views``    what an agent knows of the others, and what counts as fresh
``locate``   pickups, answers, declarations
``isolate``  locks, opening, clear requests
``restore``  claims, promises, grants and the close guard
``capacity`` what a tie can offer; the ledger of the head switch
``agent``    one switch's agent: inputs and states in; states, commands, durable records and journal out
"""
