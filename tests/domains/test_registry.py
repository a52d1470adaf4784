from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeprune.domains import DomainDataset, Sample
from edgeprune.domains.comparison import compare
from edgeprune.domains.known.base import KnownData
from edgeprune.domains.registry import KNOWN, recognise


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
def test_facts_agree_with_each_other(known: KnownData) -> None:
    assert len(set(known.domains)) == len(known.domains) >= 4
    if known.class_names is not None:
        assert len(set(known.class_names)) == known.classes
    if known.images_per_domain is not None:
        assert list(known.images_per_domain) == known.domains
        assert sum(known.images_per_domain.values()) == known.images
    assert known.embedded or known.hub or known.archives
    for archive in known.archives:
        assert archive.url is None or archive.url.startswith("https://")
        assert archive.md5 is None or re.fullmatch("[0-9a-f]{32}", archive.md5)
    if known.hub is not None:
        assert re.fullmatch("[0-9a-f]{40}", known.hub.revision)
        assert known.hub.pattern.endswith(".parquet")
    assert (
        known.embedded
        or any("never been run" in said for said in known.unverified)
        or (not known.fetched)
    )


def folder(name: str, domains: list[str], classes: list[str]) -> DomainDataset:
    samples = [
        Sample(Path(f"{d}/{k}/1.png"), i, d, "1") for d in domains for i, k in enumerate(classes)
    ]
    return DomainDataset(name, tuple(domains), tuple(classes), tuple(samples), "0" * 64, "file")


def test_copies_are_recognised_by_name_or_by_what_is_in_them() -> None:
    pacs = KNOWN["pacs"]
    names = list(pacs.class_names or [])
    assert recognise(folder("PACS", ["a", "b"], ["x", "y"])) is pacs
    assert recognise(folder("kfold", pacs.domains, names)) is pacs
    assert recognise(folder("kfold", [*pacs.domains[1:], "extra"], names[1:])) is pacs
    assert recognise(folder("kfold", pacs.domains, ["dog", "cat"])) is None
    assert recognise(folder("mine", ["photo", "sketch", "x"], ["a", "b"])) is None
    office = KNOWN["office-home"]
    assert recognise(folder("office_home", office.domains, ["a", "b"])) is office


def test_a_complete_copy_has_no_differences() -> None:
    pacs = KNOWN["pacs"]
    kinds = pacs.class_names or []
    counts = {
        domain: dict.fromkeys(kinds, 1) | {kinds[0]: count - len(kinds) + 1}
        for domain, count in (pacs.images_per_domain or {}).items()
    }
    assert compare(pacs, counts).complete
    more = {domain: dict(found) for domain, found in counts.items()}
    more["photo"]["dog"] += 1
    del more["sketch"]["dog"]
    more["extra"] = {"dog": 1}
    assert compare(pacs, more).sentences()[0] == "surplus domain: 'extra'"
    assert "photo: 1,671 images instead of 1,670 (1 surplus)" in compare(pacs, more).sentences()
