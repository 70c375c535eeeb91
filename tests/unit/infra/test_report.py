"""The one line that says why a program can't start."""

from __future__ import annotations

import pytest

from infra.local.report import reason


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("", ""),
        ("hoplink: setting PORT: too large\n", "hoplink: setting PORT: too large"),
        (
            "x FATAL:  could not create lock file\nx LOG:  database system is shut down\n",
            "x FATAL:  could not create lock file",
        ),
        (
            "nginx: [emerg] bind() failed\nnginx: [warn] still could not bind()\n",
            "nginx: [emerg] bind() failed",
        ),
        ('{"level": "INFO", "message": "first"}\n{"message": "can\'t listen"}\n', "can't listen"),
        (
            '{"message": "crashed", "exc_info": "Traceback:\\n  line 1\\nOSError: no\\n"}\n',
            "OSError: no",
        ),
        ("Traceback (most recent call last):\n  File x\nImportError: y\n", "ImportError: y"),
        ("[1, 2]\n", "[1, 2]"),
    ],
)
def test_the_reason_is_what_was_said_last_that_matters(output: str, expected: str) -> None:
    assert reason(output) == expected
