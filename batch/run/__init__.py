"""A run at work: source to schedule to workers to publisher, from the command's lock to its last status file.

Doors: `command` (`run`, `Report`), `blocking` (`run_sync`). `progress` and `status_files` hold what is shown of it.
"""
