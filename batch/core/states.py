"""How a run, or a command over one, may stand: every word for it, with its meaning.

Owns the words and their texts. Which of them holds is found out by whoever runs, continues or looks at a run.
"""

from __future__ import annotations

from typing import Final

STATES: Final[dict[str, str]] = {
    "never": "No run has begun in this output folder.",
    "waiting": "The command waits until another run in the same output folder ends (--if-running wait), or a run has "
    "ended while batches are at the provider (--no-wait): the same command collects them.",
    "skipped": "Another run was at work in the output folder, and the command did nothing (--if-running skip).",
    "nothing_to_do": "Job and input are those of the last finished run, and no row needs work: nothing was sent.",
    "running": "A process is at work. In status.json this can be left over from one that was killed.",
    "stopping": "A stop was asked for, or something made the run stop: nothing more is sent, and calls in "
    "flight may finish.",
    "finished": "The run did all that it was asked to do. Rows may have failed: the exit code says so.",
    "killed": "The process ended without closing its run, as by kill -9 or a power cut. The same command "
    "continues; what was in flight is booked as unknown.",
    "interrupted": "Ctrl-C or another signal ended the run before all was done. The same command continues.",
    "provider": "The provider refused the key, the money or the model, or would make the run wait for too long. The "
    "same command continues when that is put right.",
    "budget": "A limit of [budget] was reached, so nothing more was sent. The same command goes on with the next run.",
    "systematic": "Row after row failed in the same way, so the run stopped before that cost more. Correct the job.",
    "storage": "The disk refused a write. Free space or mend the disk, and the same command continues.",
    "input": "The input could not be read on. Mend it, and the same command continues.",
    "job_changed": "A run that was not done was closed, because the job asks something else now; a new run goes on. "
    "Answers that had come are kept.",
    "input_changed": "A run that was not done was closed, because the input is another now; a new run goes on. Answers "
    "that had come are kept.",
    "selection_changed": "A run that was not done was closed, because other rows are asked for than before (--only, "
    "--retry, --limit); a new run goes on.",
}
"""What each state means, for people."""
