"""One batch: what it was made of, and its state at any time.

A batch's state is a function of the clock, as that of a task: nothing runs in the background. Only what its lines say
is worked out once, when somebody asks after its end. Statuses and their order: OpenAI guide "Batch", BigModel guide
"Batch"; the two have the same.
"""

from __future__ import annotations

import math

import msgspec

from batch.simulator.batches.contents import Content
from batch.simulator.batches.lines import LineError
from batch.simulator.chance import chance

LATE_FILE_S = 1.5
"""How long a batch whose files come late has been completed when it names them."""
FINAL = ("completed", "failed", "expired", "cancelled")


class Course(msgspec.Struct, frozen=True):
    """When what happens to a batch, in monotonic seconds.

    Attributes:
        created: when it was made.
        begun: when its lines are checked and the first is begun.
        worked: when the last line is done.
        done: when its files are written.
        window_ends: when it expires.
        finalize_s: how long it takes to write the files.
        ends: what becomes of it if nobody cancels it: `completed`, `failed`, or `expired` or `cancelled` part-way.
        share: how many of its lines are done when it ends so part-way, 0 to 1.
    """

    created: float
    begun: float
    worked: float
    done: float
    window_ends: float
    finalize_s: float
    ends: str = "completed"
    share: float = 1.0


class Batch(msgspec.Struct, eq=False):
    """One batch.

    Attributes:
        id: by which it is asked for.
        key_id: who may ask for it.
        dialect: in which its lines are answered.
        endpoint: that of its lines.
        input_file_id: the file it was made of.
        window: as the client asked for it.
        metadata: as the client gave it.
        model: of its lines; empty when they could not be read.
        asked: what is asked, as the file has it; None once it is answered, or where nothing is.
        errors: why it fails, where it does.
        course: when what happens.
        wall: what unix time was ahead of the monotonic clock when it was made, in seconds.
        seed: decides in which order its lines are done.
        number: of the request that made it.
        spoilt: how its files are spoilt (behaviour 62); empty for files in order.
        spoilt_share: how many of its lines are, 0 to 1.
        auto_delete: whether the input file goes when it is completed.
        cancelled: monotonic seconds at which the client cancelled it; infinity if it did not.
        prompt: tokens that it is enqueued with.
        output_file_id: of the answers; None as long as there are none.
        error_file_id: of the lines without one; None as long as there are none.
        usage: prompt, completion and cached tokens of all its answers.
        failed_lines: how many lines have an error for an answer.
        settled: whether its files are written.
    """

    id: str
    key_id: str
    dialect: str
    endpoint: str
    input_file_id: str
    window: str | None
    metadata: dict[str, str] | None
    model: str
    asked: Content | None
    errors: list[LineError]
    course: Course
    wall: float
    seed: int
    number: int
    spoilt: str = ""
    spoilt_share: float = 0.0
    auto_delete: bool = False
    cancelled: float = math.inf
    prompt: int = 0
    total: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    usage: tuple[int, int, int] = (0, 0, 0)
    failed_lines: int = 0
    settled: bool = False

    @property
    def _cut(self) -> float:
        """When work on the lines stops, whether they are done or not."""
        course = self.course
        stops = course.worked
        if course.ends in ("expired", "cancelled"):
            stops = course.begun + (course.worked - course.begun) * course.share
        return min(stops, self.cancelled, course.window_ends)

    def status(self, now: float) -> str:
        """One of the statuses of the documents, at the monotonic time `now`."""
        course = self.course
        if now < min(course.begun, self.cancelled):
            return "validating"
        if course.ends == "failed" and course.begun <= self.cancelled:
            return "failed"
        if now < self._cut:
            return "in_progress"
        if self.cancelled <= min(course.worked, course.window_ends):
            return "cancelling" if now < self.cancelled + course.finalize_s else "cancelled"
        if course.window_ends < course.worked:
            return "expired"
        if course.ends in ("expired", "cancelled"):
            return course.ends
        return "finalizing" if now < course.done else "completed"

    def times(self, now: float) -> dict[str, float]:
        """The moments of its statuses so far in unix seconds, by the name of their field."""
        course, status = self.course, self.status(now)
        moments = {"created_at": course.created, "expires_at": course.window_ends}
        if status == "failed":
            moments["failed_at"] = course.begun
        elif now >= course.begun:
            moments["in_progress_at"] = course.begun
        if status in ("finalizing", "completed"):
            moments["finalizing_at"] = course.worked
        if status == "completed":
            moments["completed_at"] = course.done
        if status == "expired":
            moments["expired_at"] = self._cut
        if status in ("cancelling", "cancelled"):
            moments["cancelling_at"] = self._cut
        if status == "cancelled":
            moments["cancelled_at"] = self._cut + (course.finalize_s if self.cancelled < math.inf else 0)
        return {name: moment + self.wall for name, moment in moments.items()}

    def done_at(self, position: int) -> float:
        """When the line at this position is done, if nothing stops it before; in no order of theirs."""
        course = self.course
        return course.begun + (course.worked - course.begun) * (1.0 - chance(self.seed, position))

    def done(self, now: float) -> int:
        """How many lines are done."""
        if self.course.ends == "failed" or not self.total:
            return 0
        if now >= self.course.worked <= self._cut:
            return self.total
        until = min(now, self._cut)
        return sum(self.done_at(position) <= until for position in range(self.total))

    def finished_lines(self) -> list[int]:
        """The positions of the lines that are done when it ends, in the order in which they are."""
        moments = sorted(
            (self.done_at(position), position) for position in range(self.total if self.asked is not None else 0)
        )
        return [position for moment, position in moments if moment <= self._cut]

    def named(self, file_id: str | None, now: float) -> str | None:
        """A file as the batch names it at the monotonic time `now`: None as long as there is none, or none is told."""
        late = self.spoilt == "late_file" and now < self.course.done + LATE_FILE_S
        return None if late else file_id

    def holds(self, now: float) -> bool:
        """Whether it counts against the limit of what may be enqueued."""
        return self.status(now) not in FINAL


class Batches:
    """All batches, by id; kept as long as the server lives."""

    def __init__(self) -> None:
        """Start with none."""
        self._batches: dict[str, Batch] = {}

    def add(self, batch: Batch) -> None:
        """Keep a batch."""
        self._batches[batch.id] = batch

    def find(self, batch_id: str, key_id: str) -> Batch | None:
        """The batch with this id if it belongs to this key."""
        batch = self._batches.get(batch_id)
        return batch if batch is not None and batch.key_id == key_id else None

    def of(self, key_id: str) -> list[Batch]:
        """The batches of a key, the newest first."""
        return [batch for batch in reversed(self._batches.values()) if batch.key_id == key_id]

    def unsettled(self, now: float) -> list[Batch]:
        """Those that have ended by the monotonic time `now`, and whose files are not written yet."""
        return [batch for batch in self._batches.values() if not batch.settled and batch.status(now) in FINAL]

    def enqueued(self, key_id: str, model: str, now: float) -> tuple[int, int]:
        """How many lines, and how many tokens of prompts, a key has waiting in a model's queue.

        Args:
            key_id: whose.
            model: of which model.
            now: monotonic seconds.
        """
        held = [b for b in self._batches.values() if b.key_id == key_id and b.model == model and b.holds(now)]
        return sum(batch.total for batch in held), sum(batch.prompt for batch in held)

    def lose(self) -> None:
        """Forget every batch."""
        self._batches.clear()
