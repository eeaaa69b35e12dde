"""Files and batches as GLM writes them. It decides nothing.

Sources: BigModel guide and API reference "Batch", objects recorded in MetaGLM's cookbook and SDK tests: times of a
batch in milliseconds and those of a file in seconds, `fileName`, empty texts for file ids that are not there yet, null
counts while it is validated, and the batch's id on every line. The form of a line in an error file is documented
nowhere and a guess, and so is what is said when a queue is full.
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.simulator.batches.batch import Batch
from batch.simulator.batches.files import StoredFile
from batch.simulator.batches.form import errors_of
from batch.simulator.chance import mixed
from batch.simulator.dialects import errors
from batch.simulator.wire import Reply, json_reply

_TIMES = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


class GlmFiles:
    """The form; see `Form`."""

    endpoint = "/v4/chat/completions"
    file_bytes = 100 * 1024 * 1024
    retrieves_files = False
    refuses_full_queue = True

    def ids(self, number: int, at: float) -> tuple[str, str]:
        """A file's id begins with the second, a batch's is a long number."""
        return (
            f"{int(at)}_{mixed(number, 5):016x}{mixed(number, 6):016x}",
            f"batch_{10**18 + mixed(number, 7) % (8 * 10**18)}",
        )

    def file(self, file: StoredFile) -> dict[str, Any]:
        """With `fileName`, and no status."""
        return {
            "id": file.id,
            "object": "file",
            "bytes": file.content.size,
            "created_at": int(file.created),
            "fileName": file.name,
            "purpose": file.purpose,
        }

    def files(self, some: list[StoredFile], more: bool) -> dict[str, Any]:
        """Without the ids of the first and the last."""
        return {"object": "list", "data": [self.file(file) for file in some], "has_more": more}

    def batch(self, batch: Batch, now: float, *, fresh: bool = False) -> dict[str, Any]:
        """Times in milliseconds, whose last three digits are lost after the creation; ids that are not there are ""."""
        times, status = batch.times(now), batch.status(now)
        absent = None if fresh else ""
        counts: dict[str, Any] = dict.fromkeys(("total", "completed", "failed"))
        if status != "validating":
            counts = {
                "total": batch.total,
                "completed": batch.done(now) - batch.failed_lines,
                "failed": batch.failed_lines,
            }
        created = int(times["created_at"] * 1000)
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.endpoint,
            "input_file_id": batch.input_file_id,
            "completion_window": batch.window,
            "status": status,
            "output_file_id": batch.named(batch.output_file_id, now) or absent,
            "error_file_id": batch.named(batch.error_file_id, now) or absent,
            "created_at": created if fresh else created // 1000 * 1000,
            **{name: int(times[name]) * 1000 if name in times else None for name in _TIMES},
            "expires_at": int(times["expires_at"]) * 1000,
            "errors": errors_of(batch.errors) if status == "failed" else None,
            "metadata": batch.metadata,
            "request_counts": counts,
        }

    def answered(self, batch: Batch, custom_id: str, number: int, reply: Reply) -> dict[str, Any]:
        """Three members; the id is the batch's."""
        del number
        response = {"status_code": reply.status, "body": msgspec.Raw(reply.body)}
        return {"response": response, "custom_id": custom_id, "id": batch.id}

    def expired(self, batch: Batch, custom_id: str, number: int) -> dict[str, Any] | None:
        """None: what was not done is in no file."""
        del batch, custom_id, number
        return None

    def refused(self, code: str, *, param: str = "", detail: str = "") -> Reply:
        """Business codes; HTTP 435 for a file that is too large, HTTP 429 for a queue that is full."""
        if code == "too_large":
            return json_reply(435, {"error": {"code": "435", "message": f"文件大小超过限制。{detail}"}})
        if code == "queue_full":
            return errors.glm("1303")
        if code == "missing":
            return errors.glm("1213", field=param)
        if code in ("no_file", "no_batch"):
            return errors.glm("1214", field=param, status=404)
        return errors.glm("1214", field=param or "body", detail=f"({detail})" if detail else "")
