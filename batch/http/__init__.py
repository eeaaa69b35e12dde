"""One HTTP exchange: the client, its keep-alive transport, event-stream framing, headers, and the wire log.

It knows no dialect, retries nothing and counts nothing. Doors: `client` (`Client`), `headers` (waiting times and rate
limits), `sse` (framing), `connection` (`Taker`, who takes a body piece by piece), `wirelog` (`WireLog`).
"""
