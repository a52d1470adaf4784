"""Setting what a folder holds against what is known of the data set."""

from __future__ import annotations

from collections.abc import Mapping

from edgeprune.domains.dataset import NAMED
from edgeprune.domains.known.base import KnownData
from edgeprune.schema import Facts

Counts = Mapping[str, Mapping[str, int]]


class ImageCount(Facts):
    """How many images there should be, and how many there are."""

    known: int
    found: int


class Comparison(Facts):
    """What differs from a known data set; ``images`` names domains whose counts differ.

    Where the counts of the domains, or the names of the classes, are not recorded, only their
    totals are compared.
    """

    known: str
    missing_domains: list[str]
    surplus_domains: list[str]
    missing_classes: list[str]
    surplus_classes: list[str]
    classes: ImageCount
    images: dict[str, ImageCount]
    total: ImageCount

    @property
    def complete(self) -> bool:
        """Tell whether nothing differs."""
        return not self.sentences()

    def sentences(self) -> list[str]:
        """Say each difference in words."""
        named = (
            ("missing domain", self.missing_domains),
            ("surplus domain", self.surplus_domains),
            ("missing class", self.missing_classes),
            ("surplus class", self.surplus_classes),
        )
        said = [f"{what}: {_listed(names)}" for what, names in named if names]
        if self.classes.known != self.classes.found:
            said.append(f"{self.classes.found} classes instead of {self.classes.known}")
        said += [f"{domain}: {_words(count)}" for domain, count in self.images.items()]
        if self.total.known != self.total.found:
            said.append(f"in all: {_words(self.total)}")
        return said


def compare(known: KnownData, counts: Counts) -> Comparison:
    """Compare ``counts``, images by domain and class, with what is known."""
    classes = {kind for kinds in counts.values() for kind, count in kinds.items() if count}
    found = {domain: sum(kinds.values()) for domain, kinds in counts.items()}
    expected = known.images_per_domain or {}
    names = set(known.class_names) if known.class_names is not None else classes
    return Comparison(
        known=known.name,
        missing_domains=[d for d in known.domains if not found.get(d)],
        surplus_domains=sorted(set(found) - set(known.domains)),
        missing_classes=sorted(names - classes),
        surplus_classes=sorted(classes - names),
        classes=ImageCount(known=known.classes, found=len(classes)),
        images={
            domain: ImageCount(known=count, found=found[domain])
            for domain, count in expected.items()
            if found.get(domain) and found[domain] != count
        },
        total=ImageCount(known=known.images, found=sum(found.values())),
    )


def _words(count: ImageCount) -> str:
    off = count.found - count.known
    return (
        f"{count.found:,} images instead of {count.known:,}"
        f" ({abs(off):,} {'surplus' if off > 0 else 'missing'})"
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(repr(name) for name in names[:NAMED]) + more
