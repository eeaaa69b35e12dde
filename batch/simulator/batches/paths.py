"""The paths of files and batches, the same in both dialects: which route a request is on, and what it names."""

from __future__ import annotations

FILES, BATCHES = "/files", "/batches"
ROUTES = ("upload", "files", "content", "delete", "create", "batch", "batches", "cancel")
"""`files` lists files or tells of one, `batch` tells of one batch, `batches` lists them."""


def route_of(method: str, path: str, *, retrieves_files: bool) -> str | None:
    """The route of a request, None for one that is about neither files nor batches, or does not exist.

    Args:
        method: HTTP method.
        path: behind the dialect's prefix.
        retrieves_files: whether a file can be asked for without its content.
    """
    parts = path.split("/")[1:]
    if not all(parts):
        return None
    match method, parts:
        case "POST", ["files"]:
            return "upload"
        case "GET", ["files"]:
            return "files"
        case "GET", ["files", _]:
            return "files" if retrieves_files else None
        case "GET", ["files", _, "content"]:
            return "content"
        case "DELETE", ["files", _]:
            return "delete"
        case "POST", ["batches"]:
            return "create"
        case "GET", ["batches"]:
            return "batches"
        case "GET", ["batches", _]:
            return "batch"
        case "POST", ["batches", _, "cancel"]:
            return "cancel"
        case _:
            return None


def named(path: str) -> str:
    """The id that a path names; empty when it names none."""
    parts = path.split("/")
    return parts[2] if len(parts) > 2 else ""


def shown(prefix: str, *, retrieves_files: bool) -> list[str]:
    """Every route with its method, as people write it.

    Args:
        prefix: the dialect's.
        retrieves_files: whether a file can be asked for without its content.
    """
    one = [f"GET {prefix}/files/ID"] if retrieves_files else []
    paths = ("POST {}/files", "GET {}/files", "GET {}/files/ID/content", "DELETE {}/files/ID", "POST {}/batches")
    more = ("GET {}/batches", "GET {}/batches/ID", "POST {}/batches/ID/cancel")
    return [*(text.format(prefix) for text in paths), *one, *(text.format(prefix) for text in more)]
