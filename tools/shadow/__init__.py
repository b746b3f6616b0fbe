"""``flisr shadow``: agents that only decide, beside the live ones, for a day of virtual time."""
