"""A page of Markdown as HTML: readable on a phone and on paper, without scripts; raw HTML is shown, never obeyed."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .5rem; }
p, li { max-width: 46rem; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { border: 1px solid #8886; padding: .35rem .5rem; text-align: left; vertical-align: top; min-width: 6rem; }
td:first-child, th:first-child { min-width: 2rem; }
th { background: #8882; }
code { font-size: .9em; }
@media screen and (max-width: 40rem) {
  thead { display: none; }
  table, tbody, tr, td { display: block; border: 0; }
  tr { border: 1px solid #8886; margin-bottom: .75rem; padding: .35rem .5rem; }
  td { padding: .1rem 0; }
  td:empty { display: none; }
  td::before { content: attr(data-column) ": "; font-weight: bold; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 9pt; }
  .table { overflow: visible; }
  table { font-size: 7.5pt; width: 100%; }
  th, td { min-width: 0 !important; }
  thead { display: table-header-group; }
  tr, h1, h2, h3 { break-inside: avoid; }
  h1, h2, h3 { break-after: avoid; }
}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

# Nothing is loaded, run, sent or framed; the one style sheet is named by its hash.
SECURITY_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{content}</main>
</body>
</html>
"""


def html_page(title: str, markdown: str) -> str:
    """The whole document."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(markdown)
    _name_headings(tokens)
    _label_tables(tokens)
    _unlink_files(tokens)
    content = reader.renderer.render(tokens, reader.options, {})
    content = content.replace("<table", '<div class="table" tabindex="0"><table').replace("</table>", "</table></div>")
    return _PAGE.format(title=html.escape(title), style=_STYLE, content=content)


def _name_headings(tokens: Sequence[Token]) -> None:
    """Give every heading the name by which links of the page lead to it."""
    for heading, text in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", re.sub(r"[^\w\- ]", "", text.content.lower()).replace(" ", "-"))


def _label_tables(tokens: Sequence[Token]) -> None:
    """Say which heading a table belongs to, and in every cell the name of its column, for narrow screens."""
    heading: str | int | float | None = None
    columns: list[str] = []
    cell = 0
    for token, text in pairwise(tokens):
        if token.type == "heading_open":
            heading = token.attrGet("id")
        elif token.type == "table_open":
            columns = []
            token.attrs |= {"aria-labelledby": heading} if heading else {}
        elif token.type == "tr_open":
            cell = 0
        elif token.type == "th_open":
            token.attrSet("scope", "col")
            columns.append(text.content)
        elif token.type == "td_open":
            token.attrSet("data-column", columns[cell])
            cell += 1


def _unlink_files(tokens: Sequence[Token]) -> None:
    """Keep the text of links to files beside the page, and drop the link: it leads nowhere from here."""
    for token in tokens:
        if token.children:
            token.children = list(_without_file_links(token.children))


def _without_file_links(children: Sequence[Token]) -> Iterator[Token]:
    is_dropped = False
    for child in children:
        if child.type == "link_open":
            is_dropped = not str(child.attrGet("href")).startswith(("#", "http:", "https:"))
        if not (is_dropped and child.type in {"link_open", "link_close"}):
            yield child
