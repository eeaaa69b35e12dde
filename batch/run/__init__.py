"""A run at work: source to schedule to workers to publisher, from the command's lock to its last status file.

Door: `command` (`run`). `progress` and `status_files` hold what is shown of it.
"""
