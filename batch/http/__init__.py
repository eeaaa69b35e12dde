"""HTTP: one exchange at a time, from a request to its whole answer.

Owns the client, its keep-alive transport, the framing of event streams, what headers say about waiting and rate limits,
and the wire log. It knows no dialect, retries nothing and counts nothing. Doors: `client` (`Client`), `download`
(`Download`), `environment` (proxies and certificates), `headers` (waiting times and rate limits), `sse` (framing),
`urls`, `wirelog` (`WireLog`).
"""
