"""What may be operated: one switch's modes, locks, tags and interlocks. Sans-IO, knows nothing of feeders."""
