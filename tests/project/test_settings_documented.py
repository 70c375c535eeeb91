"""Settings and their documentation say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.settings_docs import GENERATED, with_generated_part
from shared.settings import Settings


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_documentation_of_settings_is_current(path: Path) -> None:
    """Fails when a setting was added, removed or changed without `make docs`."""
    text = path.read_text()
    assert text == with_generated_part(text, GENERATED[path]())


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
