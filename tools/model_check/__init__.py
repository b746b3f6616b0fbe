"""The restoration protocol, exhaustively: every interleaving, delay, loss, replay and crash of a small world."""
