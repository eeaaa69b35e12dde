"""One attempt of one turn, whatever the lane: lease, journal, send, read. One thin file a lane.

It decides nothing about the next attempt but what `retry` says. Doors: `attempt`, `books` (where calls are booked),
`observer` (who listens), `rows`, the lanes `sync`, `stream`, `task` and `bulk`, `policy`, `results`, `retry`,
`call_ids`, `targets` (where calls go), `evidence` (who ever answered), `overtime` (rows too slow), `polls` (when to ask
for a task), `purse` (what a run may spend), `slices` (of what runs share), `untold` (calls that nobody can tell the
cost of), `afford` (what a call can come to), `wave_holds` (what lines of batches hold), `lost_lines` (what they asked),
`reached` (texts).
"""
