"""What the keys of `[limits]` mean, for people; `keys` hands these on.

Owns these words, and nothing of how a limit is kept to.
"""

from __future__ import annotations

from typing import Final

from batch.job.labelkeys import Words

LIMIT_KEYS: Final[dict[str, Words]] = {
    "limits.concurrency": Words(
        "The most calls in flight at one time, saved task ids included. After a kill at most so many are in doubt. Of "
        "several models each may hold an even part of it, and more while the others do not want it.",
        "concurrency = 20",
    ),
    "limits.requests_per_minute": Words(
        "Never exceeded in any 60 seconds, across restarts too. Without it there is no such limit.",
        "requests_per_minute = 600",
    ),
    "limits.tokens_per_minute": Words(
        "Never exceeded in any 60 seconds; tokens are reserved by an estimate before a request leaves. A prompt larger "
        "than the whole limit fails as too_large.",
        "tokens_per_minute = 200_000",
    ),
    "limits.adapt": Words(
        "Find and follow the provider's own limits: fewer calls in flight when it refuses some, its headers obeyed.",
        "adapt = false",
    ),
    "limits.call_timeout_s": Words(
        "The seconds that one whole call may take, a stream to its last piece.",
        "call_timeout_s = 120",
    ),
    "limits.first_chunk_timeout_s": Words(
        "The seconds until the first piece of a stream must have come.",
        "first_chunk_timeout_s = 60",
    ),
    "limits.idle_timeout_s": Words(
        "The longest silence between two pieces of a stream, in seconds.", "idle_timeout_s = 30"
    ),
    "limits.task_timeout_s": Words(
        "The seconds after which a task is waited for no longer: its row fails for a passing reason, its id is kept "
        "and polled first by the next run.",
        "task_timeout_s = 3600",
    ),
    "limits.deadline_s": Words(
        "The seconds that a row may be open, from its first call on: all its turns, tries and waits for limits, and "
        "an end of the process, included. Then it fails for a passing reason and the next run asks it again; a call in "
        "flight is possibly billed, and the id of a task is kept and polled first. Tools that run are not cut off. "
        "Time in a batch does not count: bulk.deadline and bulk.by are for that. "
        "Without it a row takes as long as it takes.",
        "deadline_s = 7200",
    ),
    "limits.max_attempts": Words(
        "How often one turn is tried. Being turned away for load is no attempt, and neither is what fails while the "
        "provider answers nobody.",
        "max_attempts = 4",
    ),
    "limits.hours": Words(
        "The hours in which requests are sent, on the clocks of a time zone (UTC when none is named), perhaps on some "
        "days of the week only; several windows stand with ; between them. Outside them a run waits and says until "
        "when, however long that is. Calls in flight when a window closes finish, and tasks are collected at any hour.",
        'hours = "22:00-08:00 Asia/Shanghai"',
    ),
    "limits.share": Words(
        'Who keeps to these limits: "key", all jobs of yours that ask the same model at the same address with the same '
        "key at a time, together: the smallest limit that one of them declares holds for all, and what one does not "
        'use is the others\'. "none", this job alone. A concurrency that is not given is shared with nobody. '
        "A shard (--shard) shares its part of them with the same shard of other jobs.",
        'share = "none"',
    ),
    "limits.max_spill": Words(
        "How much of the disk the input of rows may take that wait to be sent or published. A slow model's rows wait "
        "there while the others go on; once they take all of it, the others wait for it, too, and status says so.",
        'max_spill = "10GB"',
    ),
    "limits.model": Words(
        "Limits of single models, beside those of the whole job: a call leaves when both let it go.",
        '[limits.model."glm-4"]\nrequests_per_minute = 60',
    ),
    "limits.model.NAME.concurrency": Words("As limits.concurrency, for this model alone.", "concurrency = 4"),
    "limits.model.NAME.requests_per_minute": Words(
        "As limits.requests_per_minute, for this model alone.",
        "requests_per_minute = 60",
    ),
    "limits.model.NAME.tokens_per_minute": Words(
        "As limits.tokens_per_minute, for this model alone.",
        "tokens_per_minute = 50_000",
    ),
}
