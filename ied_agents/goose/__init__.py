"""GOOSE (IEC 61850-8-1): PDU and Ethernet frame, publisher and subscriber state machines, all sans-IO."""
