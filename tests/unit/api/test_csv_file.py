"""Rows of a stream of bytes."""

from __future__ import annotations

import csv
import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.csv_file import CsvFile, InvalidFile

FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
ROWS = st.lists(st.tuples(FIELDS, FIELDS), max_size=8)


class Trickle:
    """Gives a few bytes at a time, whatever it is asked for."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = io.BytesIO(data)
        self._size = size

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, self._size))


@given(ROWS, st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 40), st.booleans())
def test_what_a_csv_writer_wrote_is_read_as_it_was(
    rows: list[tuple[str, str]], line_end: str, chunk: int, mark: bool
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b"])
    writer.writerows(rows)
    data = text.getvalue().encode("utf-8-sig" if mark else "utf-8")
    file = CsvFile(Trickle(data, chunk), ["a"])
    assert [row and (row["a"], row["b"]) for row in file] == rows


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_are_rows_or_an_invalid_file(data: bytes, chunk: int) -> None:
    with suppress(InvalidFile):
        for row in CsvFile(Trickle(b"a,b\n" + data, chunk), ["a"]):
            assert row is None or set(row) == {"a", "b"}


def test_rows_are_numbered_as_in_a_spreadsheet_less_one() -> None:
    data = b'a,b\n1,1\n\n2,"x\ny"\nwrong\n3,3\n'
    file = CsvFile(Trickle(data, 5), ["a"])
    assert [(file.row_number, row and row["a"]) for row in file] == [
        (1, "1"),
        (3, "2"),
        (4, None),
        (5, "3"),
    ]


@pytest.mark.parametrize("data", [b"x" * 3_000_000, b'"' + b"\n" * 3_000_000, b"," * 3_000_000])
def test_a_row_without_an_end_is_not_read_to_its_end(data: bytes) -> None:
    source = io.BytesIO(b"a,b\n1,2\n" + data)
    file = CsvFile(source, ["a"])
    rows = iter(file)
    next(rows)
    with pytest.raises(InvalidFile, match="row 2"):
        next(rows)
    assert source.tell() < 1_500_000
