"""What an installed package requires here, and whether a version meets it."""

from __future__ import annotations

import platform
import re
import sys
from collections import Counter
from importlib import metadata

from edgeprune.schema import Facts

REQUIREMENT = re.compile(
    r"^(?P<name>[\w.-]+)(?:\[(?P<inner>[\w,.-]+)\])?\s*(?P<versions>[^;]*)(?:;(?P<marker>.*))?$"
)
OPERATORS = ("==", "!=", ">=", "<=", ">", "<")


class Requirement(Facts):
    """One line of the package's requirements; ``extra`` is None where all commands need it."""

    name: str
    versions: str
    extra: str | None

    @property
    def text(self) -> str:
        """Return the requirement as pip takes it."""
        return f"{self.name}{self.versions}"


def requirements(package: str = "edgeprune") -> list[Requirement]:
    """Return what the installed ``package`` requires here, first what all commands need.

    A package of several extras is listed under the smallest of them.
    """
    found = []
    for line in metadata.requires(package) or []:
        match = REQUIREMENT.match(line.strip())
        if match is None:
            raise ValueError(f"requirement {line!r} of {package} cannot be read")
        marker = match["marker"] or ""
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", marker)
        if match["name"] == package or not _applies(marker):
            continue
        found.append(
            Requirement(
                name=match["name"],
                versions=match["versions"].strip(" ()"),
                extra=extra.group(1) if extra else None,
            )
        )
    return _once_each(found)


def _once_each(needs: list[Requirement]) -> list[Requirement]:
    sizes = Counter(need.extra for need in needs)
    sizes[None] = 0
    once: dict[str, Requirement] = {}
    for need in sorted(needs, key=lambda need: (sizes[need.extra], need.extra or "")):
        once.setdefault(need.name, need)
    return list(once.values())


def satisfies(version: str, wanted: str) -> bool:
    """Return whether ``version`` meets ``wanted``, such as ``>=1.24,<3``.

    Only the release numbers count: NVIDIA's Jetson builds, such as ``2.5.0a0+872d972e41``,
    stand for the release they are named after.
    """
    have = _release(version)
    for clause in filter(None, (part.strip() for part in wanted.split(","))):
        operator = next(op for op in OPERATORS if clause.startswith(op))
        limit = _release(clause.removeprefix(operator))
        holds = {
            "==": have == limit,
            "!=": have != limit,
            ">=": have >= limit,
            "<=": have <= limit,
            ">": have > limit,
            "<": have < limit,
        }
        if not holds[operator]:
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"\s*(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in found.group(1).split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _applies(marker: str) -> bool:
    """Whether a marker of conditions joined by ``and`` holds here; extras aside."""
    here = {
        "python_version": platform.python_version(),
        "sys_platform": sys.platform,
        "platform_machine": platform.machine(),
    }
    for name, operator, value in re.findall(r"(\w+)\s*([<>=!]+)\s*['\"]([\w.]+)['\"]", marker):
        if name == "python_version":
            if not satisfies(here[name], operator + value):
                return False
        elif name in here and (here[name] == value) is (operator == "!="):
            return False
    return True
