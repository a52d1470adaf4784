"""VLCS (Fang et al., "Unbiased Metric Learning", ICCV 2013): four older photo collections."""

from edgeprune.domains.known.base import Archive, KnownData

DATASET = KnownData(
    name="vlcs",
    title="VLCS",
    domains=["Caltech101", "LabelMe", "SUN09", "VOC2007"],
    classes=5,
    class_names=["bird", "car", "chair", "dog", "person"],
    images=10_729,
    # DomainBed's copy. No repository on the hub with this layout could be verified.
    archives=[
        Archive(
            file="VLCS.tar.gz",
            page="https://drive.google.com/uc?id=1skwblH1_okBwxWxmRsp9_qi15hyPpxg8",
            md5="8870171eba660927d9668f4e515928e4",
        )
    ],
    unverified=[
        "the checksum of VLCS.tar.gz is that of another project that reads the same file",
        "how many images each domain has",
    ],
)
