"""The figures behind pages: what a page that is served and a page that is sent by mail show of an output folder.

Owns their shapes: plain objects that JSON has, decimals as text, times as UTC seconds. It knows no page and no server.
Memory does not grow with the number of rows. Doors: `figures`, `filters`, `downloads`.
"""
