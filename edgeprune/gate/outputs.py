"""What continuous integration reads: JUnit XML, a Markdown summary, GitHub annotations."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from edgeprune.gate.wording import headline, sentence, setting, table
from edgeprune.markdown import table_lines
from edgeprune.schema import CheckResult, Finding

MARKS = {"passed": "✅", "failed": "❌", "inconclusive": "⚠️"}
# XML 1.0 has no place for these, not even escaped.
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(result: CheckResult) -> str:
    """Return a JUnit report: a test case for each finding; what is inconclusive is skipped."""
    failed = sum(_fails(finding, result) for finding in result.findings)
    skipped = sum(finding.verdict == "inconclusive" for finding in result.findings)
    suite = ElementTree.Element(
        "testsuite",
        name="edgeprune check",
        tests=str(len(result.findings)),
        failures=str(failed),
        errors="0",
        skipped="0" if result.strict else str(skipped),
    )
    for finding in result.findings:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=_xml(f"edgeprune.{finding.model}"),
            name=_xml(f"{finding.metric} {setting(finding)}".strip()),
        )
        if _fails(finding, result):
            ElementTree.SubElement(case, "failure", message=_xml(sentence(finding)))
        elif finding.verdict == "inconclusive":
            ElementTree.SubElement(case, "skipped", message=_xml(sentence(finding)))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    text = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def markdown(result: CheckResult) -> str:
    """Return a heading, a table with a row for each finding, and what is to be done."""
    shown = table(result.findings)
    lines = ["### edgeprune check", "", headline(result), ""]
    if shown.title:
        lines += [f"{_md(shown.title)}:", ""]
    rows = [[*map(_md, others), f"{MARKS[verdict]} {verdict}"] for *others, verdict in shown.rows]
    lines += table_lines(shown.header, rows)
    notes = [f"- {_md(sentence(finding))}" for finding in result.findings if finding.note]
    notes += [f"- warning: {_md(warning)}" for warning in result.warnings]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def github_annotations(result: CheckResult) -> list[str]:
    """Return GitHub's workflow commands for what failed, is inconclusive, or is warned of."""
    lines = []
    for finding in result.findings:
        if finding.verdict != "passed":
            level = "error" if _fails(finding, result) else "warning"
            lines.append(_command(level, f"edgeprune: {finding.verdict}", sentence(finding)))
    return lines + [_command("warning", "edgeprune", warning) for warning in result.warnings]


def _fails(finding: Finding, result: CheckResult) -> bool:
    return finding.verdict == "failed" or (result.strict and finding.verdict == "inconclusive")


def _xml(text: str) -> str:
    return NO_XML.sub("\ufffd", text)


def _md(text: str) -> str:
    """Escape what Markdown or HTML would read as its own."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text)


def _command(level: str, title: str, message: str) -> str:
    title = _escape(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={title}::{_escape(message)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
