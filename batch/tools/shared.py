"""Results of pure tools, shared by the rows of a run: `@tool(cache=True)` runs once for the same arguments.

Owns what is shared: results, never errors; and that equal calls at the same time run once. Memory is bounded, the
oldest results go first; what the run keeps on disk is handed in, so that a run that is continued after a crash has them
too. It does not know what runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from batch.core.canonical import call_key
from batch.core.records import ToolCall
from batch.tools.execute import ToolResult
from batch.tools.registry import Tool

MOST_BYTES: Final = 32 << 20
"""Of results in memory."""
KEPT_BYTES: Final = 256 << 20
"""Of results on disk, of one run: a tool whose arguments never repeat must not fill the ledger."""


class SharedResults:
    """The results of one run.

    Args:
        kept: looks a result up that was kept on disk.
        keep: keeps one there; it is not waited for.
        kept_bytes: how much is kept there already.
        most_bytes: of results in memory.
    """

    def __init__(
        self,
        *,
        kept: Callable[[str], str | None] = lambda _: None,
        keep: Callable[[str, str], None] = lambda _, __: None,
        kept_bytes: int = 0,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._kept = kept
        self._keep = keep
        self._kept_bytes = kept_bytes
        self._most_bytes = most_bytes
        self._bytes = 0
        self._known: OrderedDict[str, str] = OrderedDict()
        self._running: dict[str, anyio.Event] = {}

    async def get(self, tool: Tool, call: ToolCall, run: Callable[[], Awaitable[ToolResult]]) -> ToolResult:
        """The result of a call: one that is known, that of an equal call which runs now, or a new one.

        Args:
            tool: which one; its version counts.
            call: name and arguments.
            run: runs it.
        """
        key = call_key(f"{tool.name} {tool.version}", call.arguments)
        if (running := self._running.get(key)) is not None:
            await running.wait()
            # That one failed when nothing is known now. All who waited run by themselves, at the same time: one after
            # the other, a tool that overruns its time would hold the last of them up for hours.
            known = self._look_up(key)
            return await run() if known is None else ToolResult(known)
        if (known := self._look_up(key)) is not None:
            return ToolResult(known)
        self._running[key] = done = anyio.Event()
        try:
            result = await run()
            if not result.failed:
                self._add(key, result.content, new=True)
        finally:
            del self._running[key]
            done.set()
        return result

    def _look_up(self, key: str) -> str | None:
        if (content := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return content
        content = self._kept(key) if self._kept_bytes else None
        if content is not None:
            self._add(key, content)
        return content

    def _add(self, key: str, content: str, *, new: bool = False) -> None:
        size = len(content) + len(key)
        self._known[key] = content
        self._bytes += size
        while self._bytes > self._most_bytes:
            oldest, gone = self._known.popitem(last=False)
            self._bytes -= len(gone) + len(oldest)
        if new and self._kept_bytes + size <= KEPT_BYTES:
            self._kept_bytes += size
            self._keep(key, content)
