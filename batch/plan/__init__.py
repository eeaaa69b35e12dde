"""Planning: whether the job can start, which run opens, and which rows need work.

It sends nothing but one question of `doctor_provider`, which costs nothing. Doors: `preflight` (job, source, prompt and
provider checked together), `kept` (the columns of earlier runs), `continuation` (which run opens), `planner`
(`Planner`), `lookups` (what it asks the ledger), `numbers` (what it numbers by), `question` (what a row asks),
`admission`, `respill`, `gone` (what of the table a pass does not meet), `tooling` (the tools of a job, loaded and
confined), `budgeting` (the budget of a job, checked), `sizes` (what the requests of a row are made of), `survey` (the
input held against the table, row by row, for an estimate), `spending`, `pricing` and `forecast` (the calls, tokens,
money and time that the rows to be asked will take), `doctor` and `doctor_provider` (what of this machine, and on the
way to the provider, would stop a run), `timely` (whether its time has passed).
"""
