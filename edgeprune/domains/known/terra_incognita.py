"""TerraIncognita (Beery et al., ECCV 2018): camera traps at four places, as DomainBed chose them.

The images come in one archive and what they show in another: a JSON file in COCO's form, with a
location for every image.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeprune.domains.archives import members
from edgeprune.domains.known.base import Archive, KnownData
from edgeprune.domains.pictures import Picture
from edgeprune.domains.pictures import pictures as pictures_by_folder
from edgeprune.errors import DataError

ANNOTATIONS = "caltech_camera_traps.json.zip"
IMAGES = "eccv_18_all_images_sm.tar.gz"
SERVER = "https://lilablobssc.blob.core.windows.net/caltechcameratraps"
LARGEST_JSON_BYTES = 1 << 30

DATASET = KnownData(
    name="terra-incognita",
    title="TerraIncognita",
    domains=["location_38", "location_43", "location_46", "location_100"],
    classes=10,
    class_names=[
        "bird",
        "bobcat",
        "cat",
        "coyote",
        "dog",
        "empty",
        "opossum",
        "rabbit",
        "raccoon",
        "squirrel",
    ],
    images=24_788,
    # Addresses, locations and classes: DomainBed's download script.
    archives=[
        Archive(file=IMAGES, page=f"{SERVER}/{IMAGES}", url=f"{SERVER}/{IMAGES}"),
        Archive(
            file=ANNOTATIONS,
            page=f"{SERVER}/labels/{ANNOTATIONS}",
            url=f"{SERVER}/labels/{ANNOTATIONS}",
        ),
    ],
    unverified=[
        "the download has never been run; its owner may have moved it since DomainBed named it",
        "how many images each domain has; newer labels may give another number in all",
    ],
)


def pictures(known: KnownData, files: Sequence[Path]) -> Iterator[Picture]:
    """Yield every labelled image of the four locations, once for each class that it shows.

    Without the file of labels, the others are read as DOMAIN/CLASS/IMAGE.

    Raises:
        DataError: if a file is damaged or is not laid out as its authors' is.
    """
    labels = [path for path in files if path.name == ANNOTATIONS]
    if not labels:
        yield from pictures_by_folder(known, files)
        return
    places = _read_labels(known, labels[0])
    for path in files:
        if path.name == ANNOTATIONS:
            continue
        for member in members(path, lambda name: name.name in places):
            for domain, kind in sorted(places[member.name.name]):
                name = member.name.name
                yield Picture(domain, kind, name, member.content, f"{path}: {member.name}")


def _read_labels(known: KnownData, path: Path) -> dict[str, set[tuple[str, str]]]:
    """Return domain and class of every file name that is wanted."""
    is_json = (m for m in members(path, _is_json, largest_bytes=LARGEST_JSON_BYTES))
    for member in is_json:
        try:
            return _places(known, json.loads(member.content))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{str(path)!r}: {str(member.name)!r} is not in COCO's form: {error!r}"
            ) from error
    raise DataError(f"archive {str(path)!r} holds no JSON file with labels")


def _is_json(name: Any) -> bool:
    return bool(name.suffix == ".json")


def _places(known: KnownData, labels: Any) -> dict[str, set[tuple[str, str]]]:
    names = {category["id"]: category["name"] for category in labels["categories"]}
    files = {
        image["id"]: (image["file_name"], f"location_{image['location']}")
        for image in labels["images"]
        if f"location_{image['location']}" in known.domains
    }
    places: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for annotation in labels["annotations"]:
        kind = names[annotation["category_id"]]
        if annotation["image_id"] in files and kind in (known.class_names or []):
            file_name, domain = files[annotation["image_id"]]
            places[file_name].add((domain, kind))
    return dict(places)
