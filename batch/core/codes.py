"""The codes of errors that are ours: what stands in `error_code` where the provider said nothing itself.

Owns the meaning of each, for people. Providers have codes of their own, which stand in the same column word for word;
which failure gets which code is decided where it is made.
"""

from __future__ import annotations

from typing import Final

CODES: Final[dict[str, str]] = {
    # The row itself: nothing is sent.
    "unreadable": "The line or row cannot be read: broken JSON, a damaged file, or no object where one belongs. Mend "
    "it in the input.",
    "too_long": "The row is larger than input.max_row_bytes, so it was not read. Shorten it, or raise that key.",
    "no_key": "The column of input.key is empty, so the row has no identity. Fill it in.",
    "duplicate_key": "The value of input.key stands in an earlier row already. That row counts, and this one fails: "
    "make the keys unique, or leave input.key out to tell rows by their content.",
    "empty": "The row has nothing to ask (prompt.empty says what becomes of such rows). Of a row with labels: the "
    "answer was empty.",
    "other_endpoint": "The line of a batch file is for another address than chat completions, or is no POST.",
    "other_model": "The line of a batch file asks for another model than the job.",
    "other_parameters": "The line of a batch file has parameters that the job does not have.",
    "render": "The template could not be rendered over this row: the message says which name or value it fails at.",
    "tokens_per_minute": "The prompt alone is larger than all of limits.tokens_per_minute: raise it, or shorten the "
    "row.",
    "max_tokens": "A budget needs to know the most that a call can cost, and the request sets no max_tokens.",
    "1214": "BigModel's code for messages that it refuses. A row without a user message fails with it, unsent.",
    # The way to the provider and back.
    "no_such_path": "At this path, which begins with model.base_url, nothing is served: the address is wrong.",
    "redirect": "The address sends calls to another one, which is not followed: set that one as model.base_url.",
    "web_page": "A web page came instead of an answer: model.base_url is not the address of the service, or something "
    "on the way answers for it.",
    "truncated_stream": "The stream ended without a finish_reason, so the answer is not complete. It may be billed.",
    "broken_stream": "A frame of the stream cannot be read, so the answer may lack a part. It may be billed.",
    "stream_too_large": "The stream is longer than any answer can be.",
    "no_tool_calls": "The answer says that it calls tools, and none came.",
    "no_answer": "The answer is empty and has no finish_reason.",
    "foreign_reply": "The answer names another call than ours: something on the way swapped two answers.",
    "foreign_task": "The provider gave out one task id twice, and it answers for the other call.",
    "key_in_task_id": "The task id that the provider gave holds the API key, so it is not kept, and cannot be polled.",
    "run_stopped": "The run was stopped before the call had its answer.",
    "process_ended": "The process that made the call ended before the answer was kept. It may be billed.",
    "not_taken": "No worker process was there in time to make the call: nothing was sent.",
    "task_timeout": "The task was not done within limits.task_timeout_s. Its id is kept and polled first next time.",
    "deadline": "The row was open for limits.deadline_s and not done. The next run asks it again.",
    # Batches.
    "file_lost": "The file of requests of a batch was gone or damaged before it was sent. Its rows go into another "
    "batch.",
    "not_sent": "The lane was changed before the file with this request was sent: nothing was bought.",
    "batch_lost": "The provider does not know the batch any more. Its rows may be billed.",
    "batch_failed": "The provider gave the batch up before any line was done, and gave no code.",
    "batch_expired": "The batch ended at its deadline before it came to this line: nothing was bought.",
    "batch_cancelled": "The batch was cancelled before it came to this line: nothing was bought.",
    "batch_overdue": "The batch had not come to this line within bulk.deadline: nothing was bought.",
    "line_missing": "The batch ended and has no answer for this line. It may be billed.",
    "line_failed": "The line of the batch has no answer, and the provider gave no code.",
    "endless_list": "The provider's list of batches does not end, so a batch could not be looked for in it.",
    # Tools.
    "max_turns": "The model still asked for tools after tools.max_turns replies.",
    "same_call": "The model repeated a failing call of a tool turn after turn.",
    "interrupted": "The process ended while a tool with effects was at work: it is not known whether it has run. "
    "tools.policy says what becomes of such rows.",
    "acted_before": "An earlier attempt at the row called a tool with effects with other arguments in the same place.",
    # Labels.
    "truncated": "The answer ends before its label is complete. Raise max_tokens, which asks the rows anew.",
    "no_json": "The answer is not JSON, and the label is an object.",
    "outside": "The answer says no label of the list.",
    "ambiguous": "The answer says several labels.",
    "schema": "The label is an object that does not fit the schema.",
}
"""What each code means, and what to do where something can be done."""
