"""The built-in model of the simulator: deterministic; it does arithmetic with tools, chooses labels, fills schemas."""
