"""What the keys of `[prompt]` mean, for people; `keys` has those of all other sections, and hands these on.

Owns these words alone.
"""

from __future__ import annotations

from typing import Final

from batch.job.labelkeys import Words

PROMPT_KEYS: Final[dict[str, Words]] = {
    "prompt.system": Words(
        "The system message, a template: {{ column }} stands for a value of the row, {{ file('guide.md') }} for a file "
        "of the job's folder.",
        'system = "You label support tickets."',
    ),
    "prompt.user": Words(
        "The user message, a template over the columns of the row.",
        'user = "Subject: {{ subject }}\\n\\n{{ body }}"',
    ),
    "prompt.messages": Words(
        "Instead of user: a column that holds the whole list of messages, each with role and content.",
        'messages = "chat"',
    ),
    "prompt.turns": Words(
        "Instead of user: a column with a list of user messages, sent one after another, each with the whole "
        "conversation before it.",
        'turns = "questions"',
    ),
    "prompt.start": Words(
        "Messages the conversation begins with, before what the user says: examples of good answers, for instance.",
        'start = [{ role = "user", content = "Hi" }, { role = "assistant", content = "Hello!" }]',
    ),
    "prompt.images": Words(
        "Columns with pictures for the user message: addresses, paths in the job's folder, bytes or base64.",
        'images = ["photo"]',
    ),
    "prompt.variants": Words(
        "Several prompts over the same rows: each has a name, and a system or user of its own. A row has one result "
        "for each.",
        'variants = { short = {}, long = { system = "Explain at length." } }',
    ),
    "prompt.empty": Words(
        "What to do with a row that says nothing, because all the columns that its prompt reads are blank, or the last "
        'user message is: "fail" sends nothing, and the row fails as input/empty; "send" asks it all the same. Setting '
        "it to send asks the rows that failed so; a row that was answered once keeps its answer.",
        'empty = "send"',
    ),
    "prompt.dedupe": Words(
        "Whether rows of a run that ask exactly the same are asked once, and share the answer. The others name the row "
        "that was asked in deduplicated_from, and have no calls, tokens or cost of their own. If it fails, the next of "
        "them is asked. Not for jobs whose tools have effects.",
        "dedupe = true",
    ),
}
