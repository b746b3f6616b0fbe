"""The gateway: the site file that binds agents, field and control centres together."""
