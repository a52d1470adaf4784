"""What a file of this package states: the facts of one data set, and where it can be had.

Such a file has ``DATASET``, and where its archives are not laid out as DOMAIN/CLASS/IMAGE a
function ``pictures`` that reads them (see :mod:`edgeprune.domains.pictures`).
"""

from __future__ import annotations

from edgeprune.domains.dataset import LAYOUT
from edgeprune.schema import Facts


class HubFiles(Facts):
    """Parquet files of a dataset repository on the Hugging Face hub.

    ``revision`` pins a commit. The columns: ``image`` is a struct of bytes and path, ``domain``
    and ``label`` are texts, or numbers whose names the parquet file itself carries.
    """

    repo: str
    revision: str
    pattern: str
    image: str = "image"
    domain: str = "domain"
    label: str = "label"

    @property
    def page(self) -> str:
        """Return where a person finds the files."""
        folder = self.pattern.rpartition("/")[0]
        return f"https://huggingface.co/datasets/{self.repo}/tree/{self.revision}/{folder}"


class Archive(Facts):
    """A zip or tar file; ``page`` is where a person finds it, ``url`` null where only a person can.

    ``md5`` is the published checksum, null where none was found.
    """

    file: str
    page: str
    url: str | None = None
    md5: str | None = None


class KnownData(Facts):
    """A data set: domains by folder name, numbers of classes and images, and how it is had.

    ``use`` is what to pass as ``--data``. ``class_names`` and ``images_per_domain`` are null
    where they could not be verified; ``unverified`` says in words what else was not.
    """

    name: str
    title: str
    domains: list[str]
    classes: int
    class_names: list[str] | None = None
    images: int
    images_per_domain: dict[str, int] | None = None
    embedded: bool = False
    use: str = "ROOT"
    layout: str = LAYOUT
    hub: HubFiles | None = None
    archives: tuple[Archive, ...] = ()
    unverified: tuple[str, ...] = ()

    @property
    def fetched(self) -> bool:
        """Tell whether it can be fetched without a person."""
        has_urls = bool(self.archives) and all(archive.url for archive in self.archives)
        return self.hub is not None or has_urls
