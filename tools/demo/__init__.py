"""The demo: a stage of real processes, a fault, and what the wire and the plant say about it."""
