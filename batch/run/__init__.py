"""A run at work: source to schedule to workers to publisher, from the command's lock to its last status file.

Owns the order of all that happens in a command, and its end. What is asked, sent, limited and published is decided in
the wings below. Doors: `command` (`run`, `Report`), `blocking` (`run_sync`), `prune` (rows leave the table), `progress`
(what is shown of it), `metrics_file` and `metric_families` (where and what `metrics.prom`
says of it), `status_files` (what the files of a run say).
"""
