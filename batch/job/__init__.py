"""The job file and the options of one command: what a person asks for, checked and frozen.

Owns every key of `job.toml` and what is said about a wrong one. It opens no input, renders no prompt and asks no
provider. Doors: `job` (`Job` and its sections), `options` (`RunOptions`), `document` (how a fault of a job file is
told), `providers` (the `[provider.NAME]` tables).
"""
