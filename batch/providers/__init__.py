"""The services and their two dialects: a request becomes bytes, bytes become a reply or a failure.

It never sends, waits or retries. Doors: `registry` (`resolve`), `base` (`Dialect`), `stream` (`Stream`), `service`,
`parameters`, `message_rules`.
"""
