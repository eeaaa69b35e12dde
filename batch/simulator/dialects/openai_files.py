"""Files and batches as OpenAI writes them. It decides nothing.

Sources: OpenAI API specification (`OpenAIFile`, `Batch`, `BatchRequestOutput`) and guide "Batch".
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.simulator.batches.batch import Batch
from batch.simulator.batches.files import StoredFile
from batch.simulator.batches.form import errors_of
from batch.simulator.chance import mixed
from batch.simulator.dialects import errors
from batch.simulator.wire import Reply

_TIMES = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)
_EXPIRED = "This request could not be executed before the completion window expired."


class OpenAIFiles:
    """The form; see `Form`."""

    endpoint = "/v1/chat/completions"
    file_bytes = 200 * 1024 * 1024
    retrieves_files = True
    refuses_full_queue = False

    def ids(self, number: int, at: float) -> tuple[str, str]:
        """Both are random letters behind a word."""
        del at
        return f"file-{mixed(number, 5):016x}{mixed(number, 6) >> 40:06x}", f"batch_{mixed(number, 7):016x}{number:08x}"

    def file(self, file: StoredFile) -> dict[str, Any]:
        """With `filename` and a status that says no more."""
        return {
            "id": file.id,
            "object": "file",
            "bytes": file.content.size,
            "created_at": int(file.created),
            "expires_at": None,
            "filename": file.name,
            "purpose": file.purpose,
            "status": "processed",
            "status_details": None,
        }

    def files(self, some: list[StoredFile], more: bool) -> dict[str, Any]:
        """With the ids of the first and the last."""
        return {
            "object": "list",
            "data": [self.file(file) for file in some],
            "first_id": some[0].id if some else None,
            "last_id": some[-1].id if some else None,
            "has_more": more,
        }

    def batch(self, batch: Batch, now: float, *, fresh: bool = False) -> dict[str, Any]:
        """Times in seconds; what is not there is null."""
        del fresh
        times, status = batch.times(now), batch.status(now)
        prompt, completion, cached = batch.usage
        usage = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + completion,
        }
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.endpoint,
            "model": batch.model or None,
            "errors": errors_of(batch.errors) if status == "failed" else None,
            "input_file_id": batch.input_file_id,
            "completion_window": batch.window,
            "status": status,
            "output_file_id": batch.named(batch.output_file_id, now),
            "error_file_id": batch.named(batch.error_file_id, now),
            "created_at": int(times["created_at"]),
            "expires_at": int(times["expires_at"]),
            **{name: int(times[name]) if name in times else None for name in _TIMES},
            "request_counts": {
                "total": 0 if status == "validating" else batch.total,
                "completed": batch.done(now) - batch.failed_lines,
                "failed": batch.failed_lines,
            },
            "usage": usage if batch.settled else None,
            "metadata": batch.metadata,
        }

    def answered(self, batch: Batch, custom_id: str, number: int, reply: Reply) -> dict[str, Any]:
        """Four members, `error` null."""
        response = {
            "status_code": reply.status,
            "request_id": f"{mixed(batch.seed, number, 8):016x}",
            "body": msgspec.Raw(reply.body),
        }
        return {"id": _request(batch, number), "custom_id": custom_id, "response": response, "error": None}

    def expired(self, batch: Batch, custom_id: str, number: int) -> dict[str, Any] | None:
        """Without a response, `batch_expired`."""
        error = {"code": "batch_expired", "message": _EXPIRED}
        return {"id": _request(batch, number), "custom_id": custom_id, "response": None, "error": error}

    def refused(self, code: str, *, param: str = "", detail: str = "") -> Reply:
        """HTTP 404 for what is not there, 409 for a batch that has ended, 413 for a file that is too large."""
        kind = "invalid_request_error"
        if code in ("no_file", "no_batch"):
            return errors.openai(404, f"No such {code[3:].title()} object: {detail}", kind, param="id")
        if code == "ended":
            return errors.openai(409, f"Cannot cancel a batch with status '{detail}'.", kind)
        if code == "too_large":
            return errors.openai(413, f"File is too large. {detail}", kind, param=param)
        if code == "missing":
            text = f"Missing required parameter: '{param}'."
            return errors.openai_invalid(text, param=param, code="missing_required_parameter")
        return errors.openai_invalid(detail or f"Invalid value: '{param}'.", param=param or None)


def _request(batch: Batch, number: int) -> str:
    return f"batch_req_{mixed(batch.seed, number, 9):016x}{number:08x}"
