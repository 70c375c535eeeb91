"""What the renderers of configurations share: how a template is filled in, and their command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from string import Template

from shared.settings import AlertSettings, SettingsError


def filled(template: Path, **values: str) -> str:
    """The text of `template` with its variables replaced."""
    # What a value holds isn't looked at again, be it a dollar sign or a quote.
    return Template(template.read_text()).substitute(values)


def quoted(value: object) -> str:
    """`value` as YAML has it."""
    # A string of JSON is one of YAML, but for pairs of surrogates, which this avoids.
    return json.dumps(value, ensure_ascii=False)


def command(
    render: Callable[[AlertSettings, Path], None], said: Callable[[AlertSettings], str]
) -> int:
    """Has `render` fill the folder that is this program's argument, and prints what is `said`.

    Returns the exit status: 2, after one line that says why, when it can't be done.
    """
    folder = Path(sys.argv[1]).resolve()
    try:
        settings = AlertSettings.from_env(os.environ)
        render(settings, folder)
    except SettingsError as error:
        print(f"hoplink: setting {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"hoplink: {error}", file=sys.stderr)
        return 2
    print(f"hoplink: {said(settings)}")
    return 0
