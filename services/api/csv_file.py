"""A CSV file that comes in as a stream of bytes: its rows, one at a time, in bounded memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

MAX_ROW_CHARACTERS = 1_048_576


class Source(Protocol):
    """Where the bytes come from."""

    def read(self, size: int, /) -> bytes: ...


class InvalidFile(ValueError):
    """The file can't be read on, or not at all; the message says why, and at which row."""


class CsvFile:
    """Rows by the names in the header; UTF-8, with or without a byte order mark.

    A row's number is that of a spreadsheet less one: the first row after the header is row 1,
    rows that are empty count (they are left out), line breaks within quotes don't.
    """

    def __init__(self, source: Source, required: Collection[str]) -> None:
        """Reads the header. Raises InvalidFile, and whatever `source.read` raises."""
        self.row_number = 0
        self._characters = 0
        self._rows = csv.reader(self._lines(source))
        header = self._next()
        if header is None:
            raise InvalidFile("file: has no header row")
        self._header = [name.strip().lower() for name in header]
        missing = [name for name in required if name not in self._header]
        if missing:
            raise InvalidFile(f"file: has no column {missing[0]}")
        if len(set(self._header)) < len(self._header):
            raise InvalidFile("file: has two columns of one name")

    def __iter__(self) -> Iterator[dict[str, str] | None]:
        """Each row, or None for one that has too many or too few fields. Raises InvalidFile."""
        width = len(self._header)
        while (fields := self._next()) is not None:
            self.row_number += 1
            if len(fields) == width:
                yield dict(zip(self._header, fields, strict=True))
            elif fields:
                yield None

    def _next(self) -> list[str] | None:
        self._characters = 0
        try:
            return next(self._rows, None)
        except csv.Error as error:
            raise InvalidFile(f"file: row {self.row_number + 1}: {error}") from None

    def _lines(self, source: Source) -> Iterator[str]:
        # Bytes that are no UTF-8 become lone surrogates, so that their row alone is refused.
        text = io.TextIOWrapper(
            io.BufferedReader(_Raw(source.read), 65_536),
            encoding="utf-8-sig",
            errors="surrogateescape",
            newline="",
        )
        while line := text.readline(MAX_ROW_CHARACTERS + 1):
            self._characters += len(line)
            if self._characters > MAX_ROW_CHARACTERS:
                raise InvalidFile(
                    f"file: row {self.row_number + 1}:"
                    f" is longer than {MAX_ROW_CHARACTERS} characters"
                )
            yield line


class _Raw(io.RawIOBase):
    """Bytes as the io module likes them."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        super().__init__()
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        chunk = self._read(len(view))
        view[: len(chunk)] = chunk
        return len(chunk)
