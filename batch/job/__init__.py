"""The job and the options of one command: what a person asks for, checked and frozen.

Owns every key of `job.toml`, every option, and what is said about a wrong one. It opens no input, renders no prompt and
asks no provider. Doors: `job` (`Job` and its sections), `labelspec`, `toolspec`, `bulkspec`, `budgetspec` and
`endpointspec` (five of them), `options` (`RunOptions`), `faults` (how a fault of a job is told), `providers` (the
`[provider.NAME]` tables), `keys` (what each key means), `lanes` (how requests may travel), `shard` (one part of
a job that several machines work on).
"""
