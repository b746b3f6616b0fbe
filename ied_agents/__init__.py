"""The agents: IEC 61850 values, GOOSE, control, self-healing logic, plant and runtime."""
