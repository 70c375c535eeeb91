"""Writes the dashboards that Grafana reads: part of `make docs`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from monitoring.grafana.boards import ALL

FOLDER = Path(__file__).resolve().parent / "dashboards"


def files() -> Mapping[Path, str]:
    """Each dashboard's file and what belongs into it."""
    return {
        FOLDER / f"{board.uid.removeprefix('hoplink-')}.json": json.dumps(board.json(), indent=1)
        + "\n"
        for board in ALL
    }


def main() -> None:
    for path, content in files().items():
        path.write_text(content)
        print(f"wrote monitoring/grafana/dashboards/{path.name}")


if __name__ == "__main__":
    main()
