"""MMS (IEC 61850-8-1) through libiec61850: the only place that knows that library."""
