"""What IEC 61850 knows of values: MMS Data, quality, switch positions, time."""
