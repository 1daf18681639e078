"""Shows tables on a terminal and in a standalone page.

Owns nothing but looks; `tables` decides what is in them.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable

from bench.tables import Table

_WIDTH = 150
"""Columns a table may use where the terminal has fewer."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1b1f24 }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { border-bottom: 1px solid #d8dee4; padding: .25rem .6rem; text-align: left; vertical-align: top }
th { background: #f6f8fa } img { max-width: 100% } .wide { overflow-x: auto } small { color: #57606a }
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3 } th { background: #161b22 } th, td { border-color: #30363d }
  img { background: #fff } small { color: #8b949e }
}
"""


def to_console(tables: Iterable[Table]) -> None:
    """Print tables, each in its full width: a folded figure cannot be read, a long line can be scrolled."""
    console = Console(width=max(Console().width, _WIDTH))
    for table in tables:
        rich = RichTable(title=table.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        for index, column in enumerate(table.columns):
            rich.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
        previous = ""
        for row in table.rows:
            rich.add_row("" if row[0] == previous else row[0], *row[1:])
            previous = row[0]
        console.print(rich)
        for note in table.notes:
            console.print(f"  {note}", style="dim")


def to_html(title: str, machine: dict[str, Any], tables: Iterable[Table], pictures: Iterable[bytes]) -> str:
    """Return a page with everything in it, pictures included."""
    facts = {key: value for key, value in machine.items() if key != "versions"} | machine.get("versions", {})
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>",
        "<p><small>" + escape(" · ".join(f"{key} {value}" for key, value in facts.items())) + "</small></p>",
    ]
    parts += map(_html_picture, pictures)
    parts += map(_html_table, tables)
    return "\n".join([*parts, "</html>", ""])


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    notes = "".join(f"<p><small>{escape(note)}</small></p>" for note in table.notes)
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<h2>{escape(table.title)}</h2><div class="wide">{body}</div>{notes}'


def _html_picture(picture: bytes) -> str:
    return f'<p><img alt="Latency distributions" src="data:image/png;base64,{b64encode(picture).decode()}"></p>'
