"""Who answers in the simulator: one deterministic speaker with arithmetic, labels, schemas and tools."""
