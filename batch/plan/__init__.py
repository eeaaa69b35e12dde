"""Planning: whether the job can start, which run opens, and which rows need work.

It sends nothing. Doors: `preflight` (job, source, prompt and provider checked together), `continuation` (which run
opens), `planner` (`Planner`), `admission`, `respill`, `gone` (what of the table a pass does not meet), `tooling`
(the tools of a job, loaded and confined), `sizes` (what the requests of a row are made of), `survey` (the input held
against the table, row by row, for an estimate), `spending`, `pricing` and `forecast` (the calls, tokens, money and time
that the rows to be asked will take).
"""
