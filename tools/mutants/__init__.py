"""Named mutants of the agents' logic, and what of the campaign finds them."""
