"""Points: what the gateway knows of the field, and the events it owes to those who listen."""
