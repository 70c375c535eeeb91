"""/users/bulk, /urls/bulk and /events/bulk: imports of CSV files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import falcon
from falcon.media import MultipartFormHandler
from falcon.media.multipart import MultipartParseError

from services.api import errors
from services.api.bodies import check_charset, read_object, receive, too_large
from services.api.csv_file import InvalidFile, Source
from services.api.importer import Importer
from services.api.schemas import BulkFile, ImportSummary, RowError, to_json

IMPORTS_AT_A_TIME = 2
"""In one process: each holds a thread and a connection for as long as it takes."""


class Bulk:
    """One of the three paths."""

    def __init__(
        self,
        importer: Importer,
        slots: threading.BoundedSemaphore,
        folder: Path,
        *,
        max_body_bytes: int,
        max_file_bytes: int,
    ) -> None:
        """`folder` holds the files that may be imported by name."""
        self._importer = importer
        self._slots = slots
        self._folder = folder
        self._max_body_bytes = max_body_bytes
        self._max_file_bytes = max_file_bytes

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        with self._slot(), self._file(req) as source:
            try:
                outcome = self._importer.run(source)
            except InvalidFile as error:
                raise falcon.HTTPBadRequest(description=str(error)) from None
        resp.status = falcon.HTTP_201
        resp.data = to_json(
            ImportSummary(
                imported=outcome.imported,
                count=outcome.imported,
                skipped=outcome.skipped,
                errors=[RowError(row=row, error=reason) for row, reason in outcome.errors],
                error_count=outcome.error_count,
            )
        )

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(blocking=False):
            raise errors.busy("other imports are running")
        try:
            yield
        finally:
            self._slots.release()

    @contextmanager
    def _file(self, req: falcon.Request) -> Iterator[Source]:
        """The file, in whichever of the three forms it came."""
        media_type, _ = falcon.parse_header(req.content_type or "")
        if media_type == "text/csv":
            check_charset(req)
            yield _Body(req, self._max_file_bytes)
        elif media_type == "multipart/form-data":
            try:
                yield _FileField(req, _Body(req, self._max_file_bytes), self._max_file_bytes)
            except (MultipartParseError, UnicodeDecodeError) as error:
                raise errors.bad_request("body", f"must be a form: {error}") from None
        else:
            with self._seed_file(read_object(req, self._max_body_bytes)) as file:
                yield file

    def _seed_file(self, body: dict[str, object]) -> BinaryIO:
        # Looked up, not opened: whatever the name is made of, only a file of the folder is taken.
        files = {path.name: path for path in self._folder.glob("*.csv") if path.is_file()}
        path = files.get(BulkFile.model_validate(body).file)
        if path is None:
            raise errors.bad_request("file", "no such file in seed/")
        return path.open("rb")


class _Body:
    """The body of a request as a stream that tells its end from a connection that broke off."""

    def __init__(self, req: falcon.Request, max_bytes: int) -> None:
        self._req = req
        self._expected = req.content_length
        self._max_bytes = max_bytes
        self._read = 0
        if (self._expected or 0) > max_bytes:
            raise too_large(req, max_bytes)

    def read(self, size: int | None = None, /) -> bytes:
        chunk = receive(self._req, -1 if size is None else size)
        self._read += len(chunk)
        if self._read > self._max_bytes:
            raise too_large(self._req, self._max_bytes)
        if not chunk and self._expected is not None and self._read < self._expected:
            raise errors.bad_request("body", "did not arrive whole")
        return chunk


class _FileField:
    """The field `file` of a form."""

    def __init__(self, req: falcon.Request, body: _Body, max_bytes: int) -> None:
        handler = MultipartFormHandler()
        # A body that comes in chunks tells no length; _Body limits both.
        self._parts = iter(
            handler.deserialize(body, req.content_type, req.content_length or max_bytes)
        )
        for part in self._parts:
            if part.name == "file":
                self._stream = part.stream
                return
        raise errors.bad_request("file", "is required")

    def read(self, size: int) -> bytes:
        chunk: bytes = self._stream.read(size)
        if not chunk:
            # Raises an error unless the part ends with a boundary, as it does when it is whole.
            next(self._parts, None)
        return chunk
