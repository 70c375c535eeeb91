"""Writes what docs/METRICS.md says of each metric: `make docs`."""

from __future__ import annotations

from infra.settings_docs import ROOT, with_generated_part
from shared.metrics import ALL, DECLARATIONS, Declaration

PAGE = ROOT / "docs" / "METRICS.md"


def tables() -> str:
    """A table for each service."""
    parts = []
    for service in ALL:
        rows = [_row(each) for each in DECLARATIONS if service in each.of]
        parts.append(
            "\n".join(
                [
                    f"### {service}",
                    "",
                    "| Name | Type | Labels | Meaning |",
                    "|---|---|---|---|",
                    *rows,
                ]
            )
        )
    return "\n\n".join(parts)


def _row(metric: Declaration) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"


def main() -> None:
    PAGE.write_text(with_generated_part(PAGE.read_text(), tables()))
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
