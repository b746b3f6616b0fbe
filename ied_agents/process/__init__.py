"""Where an agent's inputs come from and its outputs go: the simulated plant, or a real relay over GOOSE."""
