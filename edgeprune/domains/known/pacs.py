"""PACS (Li et al., "Deeper, Broader and Artier Domain Generalization", ICCV 2017)."""

from edgeprune.domains.known.base import Archive, HubFiles, KnownData

DATASET = KnownData(
    name="pacs",
    title="PACS",
    domains=["art_painting", "cartoon", "photo", "sketch"],
    classes=7,
    class_names=["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"],
    images=9_991,
    images_per_domain={"art_painting": 2_048, "cartoon": 2_344, "photo": 1_670, "sketch": 3_929},
    # From the dataset card: columns, class names, counts, data/train-*.
    hub=HubFiles(
        repo="flwrlabs/pacs",
        revision="9c6f80edcd5320a55a39b1e84120dcfa25c8ce9b",
        pattern="data/train-*.parquet",
    ),
    archives=[
        Archive(
            file="PACS.zip",
            page="https://drive.google.com/uc?id=1JFr8f805nMUelQWWmfnJR3y4_SYoN5Pd",
            md5="fd5db817f7cdafeef3bfd525aaf9b42e",
        )
    ],
    unverified=[
        "the download from the hub has never been run",
        "whether the copy on the hub keeps the original file names",
        "the checksum of PACS.zip is that of another project that reads the same file",
    ],
)
