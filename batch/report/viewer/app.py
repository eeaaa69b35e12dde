"""The addresses of the viewer, and what stands under each: the page, figures as JSON, files to take along, events.

Owns which figure stands where and what becomes of an error. Figures are computed in threads, the large ones one at a
time, so neither a slow figure nor a slow reader holds up the others. It writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial, wraps
from typing import Any, Final
from urllib.parse import quote

import msgspec
import pyarrow as pa
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from batch.core import exactjson
from batch.core.canonical import without_surrogates
from batch.core.errors import BatchError, OutputError, StorageError
from batch.report import bundle
from batch.report.figures.figures import Figures
from batch.report.viewer.events import events
from batch.report.viewer.query import NoSuchPage, Query, chosen_form
from batch.run.metrics_file import as_of_now

READERS: Final = 4
"""Reads of rows at a time."""
KEPT: Final = 32
LARGE_AGE_S: Final = 10.0
"""While a run is at work, a large figure may be so old."""
JSON: Final = "application/json"
METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"


class Viewer:
    """The pages over some output folders.

    Args:
        folders: their figures; the place of each is its number in addresses.
        look_s: seconds between two looks for changes.
    """

    def __init__(self, folders: Sequence[Figures], look_s: float | None = None) -> None:
        self._folders: list[Figures] = list(folders)
        self._look = {} if look_s is None else {"look_s": look_s}
        self._readers = CapacityLimiter(READERS)
        self._large = CapacityLimiter(1)
        self._kept: dict[Any, tuple[Any, float, bytes]] = {}
        folder = "/api/{folder:int}"
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/metrics", _told(self._metrics)),
                Route("/api/folders", _told(self._list)),
                Route(f"{folder}/overview", _told(self._overview)),
                Route(f"{folder}/status", _told(self._status)),
                Route(f"{folder}/rows", _told(self._rows)),
                Route(f"{folder}/count", _told(self._count)),
                Route(f"{folder}/rows.{{ending}}", _told(self._download)),
                Route(f"{folder}/row/{{number:int}}", _told(self._row)),
                Route(f"{folder}/row", _told(self._row_named)),
                Route(f"{folder}/compare", _told(self._compare)),
                Route(f"{folder}/labels", _told(self._labels)),
                Route(f"{folder}/money", _told(self._money)),
                Route(f"{folder}/metrics", _told(self._metrics)),
                Route(f"{folder}/events", _told(self._events)),
            ],
            exception_handlers={404: _no_such_page, 405: _no_such_page},
        )

    # -- pages and live numbers ---------------------------------------------------------------------------------------

    async def _page(self, _: Request) -> Response:
        page = bundle.page()
        return Response(page.html, media_type="text/html", headers={"content-security-policy": page.policy})

    async def _list(self, _: Request) -> Response:
        found = []
        for number, figures in enumerate(self._folders):
            job, state = await self._read(figures.state)
            found.append({"id": str(number), "path": figures.name, "job": job, "state": state})
        return _json(found)

    async def _status(self, request: Request) -> Response:
        return _json(await self._read(self._figures(request).status))

    async def _overview(self, request: Request) -> Response:
        query = Query(request, ("run",))
        figures = self._figures(request)
        return await self._told_of(lambda: figures.overview(query.one("run")), large=True)

    async def _events(self, request: Request) -> Response:
        figures = self._figures(request)
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return StreamingResponse(events(figures, self._read, **self._look), media_type="text/event-stream")

    async def _metrics(self, request: Request) -> Response:
        if "folder" not in request.path_params and len(self._folders) > 1:
            raise NoSuchPage("several folders are shown: each has its own metrics, under api/NUMBER/metrics.")
        figures = self._figures(request) if "folder" in request.path_params else self._folders[0]
        path = figures.folder.metrics
        try:
            content = await self._read(partial(as_of_now, figures.folder))
        except OSError as exc:
            raise NoSuchPage(f"{path}: cannot be read: {exc.strerror}. A run writes it while it is at work.") from exc
        return Response(content, media_type=METRICS)

    # -- rows -------------------------------------------------------------------------------------------------------

    async def _rows(self, request: Request) -> Response:
        query, figures = Query(request, ("page", "size", "order"), filters=True), self._figures(request)
        return await self._told_of(lambda: figures.rows(query.filter, query.page()))

    async def _count(self, request: Request) -> Response:
        query, figures = Query(request, (), filters=True), self._figures(request)
        return await self._told_of(lambda: {"total": figures.count(query.filter)})

    async def _row(self, request: Request) -> Response:
        query, figures = Query(request, ("whole", "of"), filters=True), self._figures(request)
        number, whole = request.path_params["number"], query.flag("whole")
        return await self._told_of(lambda: figures.row(number, query.filter, whole=whole))

    async def _row_named(self, request: Request) -> Response:
        query, figures = Query(request, ("id", "whole")), self._figures(request)
        return await self._told_of(lambda: figures.row_named(query.one("id") or "", whole=query.flag("whole")))

    async def _download(self, request: Request) -> Response:
        figures, ending = self._figures(request), request.path_params["ending"]
        query = Query(request, ("format", "label_column") if ending == "review" else (), filters=True)
        kind, name, begin = chosen_form(figures, ending, query)
        chunks = await self._read(begin)
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
        if request.method == "HEAD":
            return Response(media_type=kind, headers=headers)
        # The first bytes before the answer begins: what is refused can still be said.
        first = await self._read(lambda: next(chunks, b""))
        return StreamingResponse(self._chunks(first, chunks), media_type=kind, headers=headers)

    async def _chunks(self, first: bytes, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
        """The bytes of a file; while a slow reader takes them, no thread waits."""
        yield first
        while (chunk := await self._read(lambda: next(chunks, None))) is not None:
            yield chunk

    # -- tables over all rows -----------------------------------------------------------------------------------------

    async def _compare(self, request: Request) -> Response:
        figures = self._figures(request)
        return await self._whole(figures, ("compare",), figures.compare)

    async def _labels(self, request: Request) -> Response:
        query, figures = Query(request, ("label", "gold")), self._figures(request)
        label, gold = query.one("label"), query.one("gold")
        return await self._whole(figures, ("labels", label, gold), partial(figures.labels, label, gold))

    async def _money(self, request: Request) -> Response:
        query, figures = Query(request, ("by",)), self._figures(request)
        by = query.all("by")
        return await self._whole(figures, ("money", by), partial(figures.money, by))

    async def _whole(self, figures: Figures, question: tuple[Any, ...], find: Callable[[], Any]) -> Response:
        """A figure over all rows, computed anew when the tables changed and, during a run, when it is old."""
        key = (figures.folder.root, *question)

        def answer() -> msgspec.Raw:
            version = figures.version()
            kept = self._kept.get(key)
            old = kept is not None and time.monotonic() - kept[1] > LARGE_AGE_S and figures.at_work()
            if kept is None or kept[0] != version or old:
                kept = (version, time.monotonic(), _encoded(find()))
                self._kept.pop(key, None)
                self._kept[key] = kept
                while len(self._kept) > KEPT:
                    del self._kept[next(iter(self._kept))]
            return msgspec.Raw(kept[2])

        return await self._told_of(answer, large=True)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _figures(self, request: Request) -> Figures:
        number: int = request.path_params["folder"]
        if not 0 <= number < len(self._folders):
            raise NoSuchPage(f"there is no folder {number}: {len(self._folders)} are shown, counted from 0.")
        return self._folders[number]

    async def _read(self, find: Callable[[], Any]) -> Any:
        return await _in_thread(find, self._readers)

    async def _told_of(self, find: Callable[[], Any], *, large: bool = False) -> Response:
        """A figure as JSON, made in a thread; what it took of the memory goes back to the system.

        Args:
            find: computes it.
            large: it goes over all rows, so one of them is computed at a time.
        """

        def made() -> Response:
            try:
                return _json(find())
            finally:
                pa.default_memory_pool().release_unused()

        response: Response = await _in_thread(made, self._large if large else self._readers)
        return response


async def _in_thread(find: Callable[[], Any], limiter: CapacityLimiter) -> Any:
    """What a function says; the server may end meanwhile, because nothing here is lost when it does.

    Args:
        find: is called in a thread.
        limiter: how many such calls there are at a time.
    """
    return await to_thread.run_sync(find, limiter=limiter, abandon_on_cancel=True)


def _told(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """The same answer; what goes wrong is one sentence for people, never a traceback."""

    @wraps(answer)
    async def safely(request: Request) -> Response:
        try:
            response: Response = await answer(request)
        except NoSuchPage as exc:
            return _json({"error": str(exc)}, 404)
        except OutputError as exc:
            return _json({"error": str(exc)}, 404)
        except StorageError as exc:
            return _json({"error": str(exc)}, 503)
        except BatchError as exc:
            return _json({"error": str(exc)}, 400)
        except Exception as exc:  # noqa: BLE001 - the page is told, and the server goes on for all others
            return _json(
                {"error": f"a bug of ours: {type(exc).__name__}. Other figures may be there all the same."}, 500
            )
        return response

    return safely


async def _no_such_page(request: Request, _: Exception) -> Response:
    return _json({"error": f"{request.url.path}: there is no such page here."}, 404)


def _json(value: Any, status: int = 200) -> Response:
    return Response(_encoded(value), status, media_type=JSON)


def _encoded(value: Any) -> bytes:
    try:
        return exactjson.encoded(value)
    except UnicodeEncodeError:  # half a surrogate pair, which UTF-8 cannot carry
        return exactjson.encoded(without_surrogates(exactjson.builtins(value)))
