"""The one failure of the local stack."""

from __future__ import annotations


class StackError(Exception):
    """The stack can't start or go on; the message is one line and says what to do."""
