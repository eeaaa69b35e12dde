"""The services and their two dialects: a request becomes bytes, and the bytes of an answer a reply or a failure.

It never sends, waits or retries. Doors: `registry` (`resolve`), `base` (`Dialect`), `batch_files` (`BatchFiles`),
`stream` (`Stream`), `folding`, `service`, `parameters`, `message_rules`, `pool` (several addresses),
`keysource` (`KeySource`).
"""
