"""The campaign: random networks and faults under virtual time, the real agents, an independent judge."""
