"""The server of `promptmill view`: it shows output folders to the person at this machine, and changes nothing.

Owns who is answered (`guard`), which figures stand under which address (`app`), how a page learns that something
changed (`events`) and the process that serves (`server`). What the figures are is the matter of `report.figures`, what
the page looks like that of `report.bundle`. Doors: `server`, `app`.
"""
