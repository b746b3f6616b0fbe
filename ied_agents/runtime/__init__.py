"""Drivers: links, station, agent process, durable state, journal."""
