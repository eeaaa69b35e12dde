"""What every other wing needs: errors, time, records, canonical form, Arrow types, logs, durable files, the process.

Owns the values that flow between the wings and the few services all of them share. It knows nothing of jobs, providers
or runs, and imports no other wing. Doors: all its modules.
"""
