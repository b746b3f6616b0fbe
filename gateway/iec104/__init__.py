"""IEC 60870-5-104: frames, ASDUs, time tags, and the state machines of link and application. Knows no points."""
