"""DomainNet (Peng et al., "Moment Matching for Multi-Source Domain Adaptation", ICCV 2019)."""

from edgeprune.domains.known.base import Archive, HubFiles, KnownData

AUTHORS = "http://csr.bu.edu/ftp/visda/2019/multi-source"

DATASET = KnownData(
    name="domainnet",
    title="DomainNet",
    domains=["clipart", "infograph", "painting", "quickdraw", "real", "sketch"],
    classes=345,
    images=586_575,
    # 409,832 training and 176,743 test images; both belong to the benchmark.
    hub=HubFiles(
        repo="wltjr1007/DomainNet",
        revision="ee20570ae7a29c51571e55a9a17983f7625295d6",
        pattern="data/*.parquet",
    ),
    # The authors' server has no https, so that only a person fetches from it.
    archives=[
        Archive(file="clipart.zip", page=f"{AUTHORS}/groundtruth/clipart.zip"),
        Archive(file="infograph.zip", page=f"{AUTHORS}/infograph.zip"),
        Archive(file="painting.zip", page=f"{AUTHORS}/groundtruth/painting.zip"),
        Archive(file="quickdraw.zip", page=f"{AUTHORS}/quickdraw.zip"),
        Archive(file="real.zip", page=f"{AUTHORS}/real.zip"),
        Archive(file="sketch.zip", page=f"{AUTHORS}/sketch.zip"),
    ],
    unverified=[
        "the download from the hub (19 GB) has never been run",
        "the name and type of the hub's column 'domain'",
        "how many images each domain has",
        "the authors' zip files hold duplicates that DomainBed leaves out: more images than here",
    ],
)
