"""What is to be done: which run this is, which rows need work, and whether the job can start at all.

It sends nothing. Doors: `preflight` (job, source, prompt and provider checked together), `continuation` (which run
opens), `planner` (`Planner`), `row_ids`.
"""
