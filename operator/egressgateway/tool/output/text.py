"""A report for people: a terminal, a page in Markdown, names alone."""

from __future__ import annotations

from collections.abc import Iterator

from egressgateway.tool.diagnostic import Diagnostic, Report
from egressgateway.tool.output.style import Style
from egressgateway.tool.output.words import acts, full_message, name_of, printable, summary


def as_table(report: Report, style: Style) -> Iterator[str]:
    """One line for each diagnostic, its fix below; then what was not looked at, and a summary."""
    for each in report.diagnostics:
        code = each.code
        head = f"{printable(str(each.place))}: {style.severity(each.severity)} {code.code} {style.bold(name_of(code))}"
        yield f"{head}: {full_message(each)}"
        yield from _below(each, style)
    if style.quiet:
        return
    yield from (f"not checked: {printable(str(each))}" for each in report.not_checked)
    yield summary(report)


def as_markdown(report: Report) -> Iterator[str]:
    """A table for a comment on a pull request."""
    if report.diagnostics:
        yield "| | where | what |"
        yield "|---|---|---|"
    for each in report.diagnostics:
        code, place = each.code, each.place
        where = f"`{_cell(printable(place.file))}:{place.line}`"
        yield f"| {each.severity} | {where} | [{code.code}]({code.url}) {name_of(code)}: {_cell(full_message(each))} |"
    yield ""
    yield summary(report)
    for one in report.not_checked:
        yield f"- not checked: {_cell(printable(str(one)))}"


def as_names(report: Report) -> Iterator[str]:
    """The objects about which something was found, as kubectl names them."""
    refs = dict.fromkeys(each.object for each in report.diagnostics if each.object is not None)
    for ref in refs:
        yield printable(f"{ref.kind.lower()}.egressgateway.dev/{ref.name}")


def _below(each: Diagnostic, style: Style) -> Iterator[str]:
    if style.quiet:
        return
    if each.code.fix and each.code.fix not in each.message:
        yield f"    fix: {each.code.fix}"
    if style.wide:
        yield f"    acts: {acts(each.code)}"
        yield f"    see: {each.code.url}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
