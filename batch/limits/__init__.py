"""When a request may leave this process: calls in flight, requests and tokens per minute, pauses, outages.

It knows no row but by its number, and sends nothing. Doors: `limiter` (the only place that waits), `lease` (what a call
gets there), `sharing` (of limits with other jobs), `tokens` (what a request counts for), `outage` (what a call tells
about the provider), `holding` (what callers wait for, in words), `used` (how much of each limit is in use), `hours` (of
the day), `sockets` (how many calls there are open files for), `pollrate` (of polls for tasks).
"""
