"""When a request may leave this process: calls in flight, requests and tokens a minute, pauses, outages.

It knows no row and sends nothing. Doors: `limiter` (the one place that waits), `tokens` (what a request counts for),
`outage` (what a call tells of the provider's health).
"""
