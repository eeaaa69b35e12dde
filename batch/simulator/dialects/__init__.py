"""The two dialects of the simulator: their routes, checks, error bodies, answers and chunks."""
