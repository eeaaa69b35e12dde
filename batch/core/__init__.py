"""What every other wing needs: errors, time, records, the canonical form, Arrow type names, logs, durable files.

It knows nothing of jobs, providers or runs, and imports no other wing. All its modules are doors.
"""
