"""How the simulator speaks: the routes, checks, bodies and chunks of both dialects."""
