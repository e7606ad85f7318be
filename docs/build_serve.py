"""Write the table of settings into docs/serve.md: `python docs/build_serve.py`.

A test fails when the page does not have what this script would write.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

from kineograph.serve.settings import ENVIRONMENT, SECRET, TIERS, Settings

PAGE = Path(__file__).with_name("serve.md")
BEGIN, END = "<!-- settings: python docs/build_serve.py -->", "<!-- end of settings -->"


def table() -> str:
    """Return the tables of settings and of tiers as Markdown."""
    settings = Settings()
    lines = ["| setting | environment | default | meaning |", "|---|---|---|---|"]
    for f in fields(Settings):
        value = getattr(settings, f.name)
        shown = "" if f.name in SECRET or value in ("", {}) else f"`{value}`"
        shown = "see below" if f.name == "tiers" else shown
        help = f.metadata["help"].replace("|", "\\|")
        lines.append(f"| `{f.name}` | `{ENVIRONMENT}{f.name.upper()}` | {shown} | {help} |")
    names = list(asdict(TIERS["free"]))
    lines += ["", "| tier | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for name, tier in TIERS.items():
        values = (f"{value:g}" if isinstance(value, float) else str(value)
                  for value in asdict(tier).values())  # fmt: skip
        lines.append(f"| `{name}` | " + " | ".join(values) + " |")
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page with the tables of today in it."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)
