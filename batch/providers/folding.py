"""Puts the chunks of a streamed chat completion together to the `Reply` that an answer in one piece would have given.

Owns what the chunks of `chat.completion.chunk` mean and when a stream is an answer. The deltas of choice 0 are put
together to a chat completion, which `completion` reads: so both lanes give the same reply by construction. Error frames
are judged by the dialect. A stream is an answer only if it had a `finish_reason`: `[DONE]` without one, and any end
without one, is a truncated stream that may have been billed. With one, nothing is missing but perhaps the usage, so a
line that breaks between it and `[DONE]` does not make us buy the answer again. Sources: BigModel guides "Streaming
messages" and "Tool streaming output", OpenAI API reference "chat completion chunk object".
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from batch.core.errors import FailureKind
from batch.core.records import Failure, Incoming, Reply, Verdict
from batch.http import sse
from batch.providers import chances, chunk, completion, fragments, loose_json

NO_HEADERS: Final = Incoming(200, {}, b"")
"""The answer around a frame, for those who judge one: its headers came long before."""
MAX_TEXT: Final = 64 * 1024 * 1024
"""Characters of text, reasoning and arguments in one answer."""
TRUNCATED: Final = "truncated_stream"
BROKEN: Final = "broken_stream"
TOO_LARGE: Final = "stream_too_large"

Judge = Callable[[loose_json.Fields], Failure | None]
"""A dialect's reading of a frame: the failure that stands in it, or None."""


class Folding:
    """Puts one stream with HTTP status 200 together: feed it what comes, then call `end` for the result.

    Args:
        judge: the dialect's reading of error frames.
        replay_reasoning: put the reasoning into `Reply.message` too, as the dialect's sync reader does.
        parser: the framing; default with the caps of `sse`.
    """

    def __init__(self, judge: Judge, *, replay_reasoning: bool, parser: sse.Parser | None = None) -> None:
        self.done = False
        """Nothing that may still come can change the result: `[DONE]`, an error frame, or a broken one was read."""
        self.chunks = 0
        """Chunks read so far that are part of an answer: for the time of the first, and to tell life from silence."""
        self.broken = False
        """It is `done` because it cannot be read any further: not worth waiting for its end."""
        self._judge = judge
        self._replay_reasoning = replay_reasoning
        self._parser = parser or sse.Parser()
        self._by_line = False  # frames end with one newline, without a blank line after them
        self._no_document: bytes | None = None  # the line that was last looked at in vain
        self._ended = False
        self._failure: Failure | None = None
        self._content: io.StringIO | None = None
        self._reasoning = io.StringIO()
        self._reasons = False  # reasoning came, perhaps an empty one
        self._refusal = io.StringIO()
        self._calls: fragments.ToolCalls | None = None
        self._message: fragments.Message | None = None
        self._room = MAX_TEXT
        self._finish: str | None = None
        self._usage: loose_json.Fields | None = None
        self._logprobs: list[msgspec.Raw] = []
        self._id: str | None = None
        self._request_id: str | None = None
        self._model: str | None = None
        self._service_tier: str | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body (decompressed), cut anywhere. Raises nothing, whatever they are."""
        if self.done:
            return
        try:
            events = self._parser.feed(data)
        except sse.StreamTooLarge as error:
            self._fail(TOO_LARGE, str(error), verdict="once")
            return
        if self._parser.lines:
            events += self._whole_lines(self._parser.lines)
        if not self._read(events) and self._room < 0:
            self._fail(TOO_LARGE, f"the answer is longer than {MAX_TEXT} characters", verdict="once")

    @property
    def complete(self) -> bool:
        """Whether what was read so far is an answer, whatever becomes of the rest."""
        return self._finish is not None and self._failure is None

    @property
    def held(self) -> int:
        """Bytes in memory, about: what the answer has grown to and what the framing holds back."""
        return MAX_TEXT - self._room + self._parser.held

    @property
    def failure_message(self) -> str:
        """The message of its failure; empty as long as there is none."""
        return "" if self._failure is None else self._failure.message

    def end(self, *, clean: bool) -> Reply | Failure:
        """The result, once `done` or at the end of the body.

        Args:
            clean: the body came to its regular end (irrelevant once `done`). After a reset, a timeout or a short body
                False: the failure (code `truncated_stream`) may then be given the kind of the transport's own.
        """
        if not self._ended and not self.done:
            self._read_rest()
        self._ended = True
        if self._failure is not None:
            return self._failure
        if self._finish is None:
            return self._cut(clean=clean)
        body = msgspec.json.encode(self._completion(self._finish))
        reply = completion.read(Incoming(200, {}, body), replay_reasoning=self._replay_reasoning)
        result: Reply | Failure = reply or completion.read_loosely(
            loose_json.parse_object(body) or {}, status=200, replay_reasoning=self._replay_reasoning
        )
        if self._logprobs and isinstance(result, Reply):
            return msgspec.structs.replace(result, tokens=chances.tokens_of(self._logprobs, result.content))
        return result

    def _read(self, events: Iterable[bytes]) -> bool:
        """Read the data of events in turn; return whether the stream is over with one of them."""
        for event in events:
            piece = chunk.read(event)
            if piece is not None:
                self._take(piece)
            elif self._read_odd(event):
                return True
        return False

    def _read_odd(self, event: bytes) -> bool:
        """Read what is no documented chunk: several frames, or one of those that `_take_odd` takes."""
        lines = _documents(event)
        if len(lines) > 1:
            self._by_line = True
            return self._read(lines)
        return self._take_odd(event)

    def _whole_lines(self, lines: list[bytes]) -> list[bytes]:
        """The lines of an event without an end that are frames of their own, because the server sends no blank lines.

        One is told by another after it: the standard would join them, and two JSON objects are no JSON.
        """
        if not self._by_line and len(lines) > 1 and lines[0] is not self._no_document:
            self._by_line = _is_document(lines[0])
            self._no_document = None if self._by_line else lines[0]
        return self._parser.take_lines() if self._by_line else []

    def _read_rest(self) -> None:
        """Read what has no blank line after it, if this server sends none: the last frame is whole all the same."""
        rest = self._parser.rest
        lines = _documents(rest)
        if not self._by_line and len(lines) < 2:
            return
        for line in lines:
            if not _is_document(line) or self._read((line,)):
                return

    def _take(self, piece: chunk.Chunk) -> None:
        if self._id is None:
            self._id = piece.id or None
        if self._model is None:
            self._model = piece.model or None  # Azure's first chunk has an empty one
        if piece.request_id:
            self._request_id = piece.request_id
        if piece.service_tier:
            self._service_tier = piece.service_tier
        if piece.usage:
            self._usage = chunk.add_usage(self._usage, piece.usage)
        for choice in piece.choices or ():
            if choice.index:
                continue  # another choice than the first, which nobody asked for
            self.chunks += 1
            if choice.usage and not piece.usage:
                self._usage = chunk.add_usage(self._usage, choice.usage)
            if chances.says_something(choice.logprobs):
                self._logprobs.append(choice.logprobs.copy())
                self._room -= len(bytes(choice.logprobs))
            if choice.finish_reason:
                self._finish = choice.finish_reason
            if choice.delta is not None:
                self._add(choice.delta)
            if choice.message is not None:
                if self._message is None:
                    self._message = fragments.Message()
                self._room -= self._message.add(choice.message)

    def _add(self, delta: chunk.Delta) -> None:
        text = delta.content
        if text is not None:
            if self._content is None:
                self._content = io.StringIO()
            self._room -= self._content.write(text)
        text = delta.reasoning_content or delta.reasoning
        if text:
            self._room -= self._reasoning.write(text)
        elif delta.reasoning_content is not None:
            self._reasons = True
        if delta.refusal:
            self._room -= self._refusal.write(delta.refusal)
        if delta.tool_calls:
            if self._calls is None:
                self._calls = fragments.ToolCalls()
            for fragment in delta.tool_calls:
                self._room -= self._calls.add(fragment)

    def _take_odd(self, event: bytes) -> bool:
        """Take a frame that is no documented chunk: the end, an error, a chunk with odd types, or a broken one.

        Returns:
            Whether the stream is over with it.
        """
        text = event.strip()
        if text.startswith(b"[DONE]"):
            self.done = True
        elif text:
            self._take_document(event)
        return self.done

    def _take_document(self, event: bytes) -> None:
        document = loose_json.parse_object(event)
        if document is not None:
            failure = self._judge(document)
            if failure is not None:
                self._refuse(failure)
                return
            try:
                self._take(chunk.read_loosely(document))
            except loose_json.UNREADABLE:
                pass  # a part of the answer may be lost in it
            else:
                return
        text = loose_json.excerpt(event)[:200]
        self._fail(BROKEN, f"the frame after chunk {self.chunks} of the stream cannot be read: {text}")

    def _refuse(self, failure: Failure) -> None:
        """Take an error frame. What came before it may be billed, so the call is no longer a refused one."""
        self.done = True
        self._failure = msgspec.structs.replace(
            failure,
            request_id=failure.request_id or self._request_id or self._id,
            answered=failure.answered and not self.chunks,
        )

    def _fail(self, code: str, message: str, *, verdict: Verdict = "retry") -> None:
        self.done = self.broken = True
        self._failure = self._unanswered("bad_payload", code, message=message, verdict=verdict)

    def _cut(self, *, clean: bool) -> Failure:
        if self.done:
            how = "said [DONE]"
        elif not clean:
            how = "broke off"
        else:
            how = "ended inside a frame" if self._parser.rest else "ended"
        message = f"the stream {how} after {self.chunks} chunks without a finish_reason, so the answer is not complete"
        return self._unanswered("transport", TRUNCATED, message=message, verdict="retry")

    def _unanswered(self, kind: FailureKind, code: str, *, message: str, verdict: Verdict) -> Failure:
        """A failure that leaves open whether the call is billed."""
        return Failure(
            kind=kind,
            code=code,
            message=message,
            verdict=verdict,
            http_status=200,
            request_id=self._request_id or self._id,
            answered=False,
        )

    def _completion(self, finish: str) -> dict[str, Any]:
        """The chat completion that these chunks are the pieces of; what stands in `message` fills what deltas left."""
        message = {
            "content": None if self._content is None else self._content.getvalue(),
            "reasoning_content": self._reasoning.getvalue() or None,
            "refusal": self._refusal.getvalue() or None,
            "tool_calls": (self._calls.whole() or None) if self._calls else None,
        }
        if self._message is not None:
            message |= {name: value for name, value in self._message.whole().items() if value and not message[name]}
        if self._reasons and message["tool_calls"]:
            message["reasoning_content"] = message["reasoning_content"] or ""
        if message["refusal"] and not message["content"]:
            message["content"] = None
        return {
            "choices": [{"message": message, "finish_reason": finish}],
            "id": self._id,
            "request_id": self._request_id,
            "model": self._model,
            "service_tier": self._service_tier,
            "usage": self._usage,
        }


def _documents(event: bytes) -> list[bytes]:
    """The frames in the data of one event: it itself, or its lines where the first of them is one by itself."""
    if b"\n" not in event:
        return [event]
    lines = [line for line in event.split(b"\n") if line.strip()]
    return lines if len(lines) > 1 and _is_document(lines[0]) else [event]


def _is_document(line: bytes) -> bool:
    """Whether a line is a whole frame: a JSON object, or the mark of the end."""
    text = line.strip()
    if text.startswith(b"[DONE]"):
        return True
    return text.startswith(b"{") and text.endswith(b"}") and loose_json.parse_object(text) is not None
