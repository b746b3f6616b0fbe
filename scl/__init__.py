"""SCL (IEC 61850-6): model, reader, topology of the primary network, data sets and addresses."""
