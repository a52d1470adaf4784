"""Finding images that are the same byte for byte."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from pathlib import Path

from edgeprune.domains.dataset import Sample
from edgeprune.domains.split import Split
from edgeprune.files import sha256
from edgeprune.progress import Progress

Together = list[Sample]


def identical(samples: Iterable[Sample], progress: Progress) -> list[Together]:
    """Return the samples of several domains whose files are the same, together.

    Only files whose size is found in several domains are read; what cannot be read is left out.
    """
    sizes = _across_domains(samples, lambda path: path.stat().st_size)
    alike = [sample for together in sizes for sample in together]
    tracked = progress.track(alike, "comparing images", len(alike))
    return _across_domains(tracked, sha256)


def warn_of_duplicates(split: Split, progress: Progress) -> None:
    """Say if images of the target are in the source domains too: they are not unseen."""
    parts = {
        **{sample: "in training" for own in split.train.values() for sample in own},
        **{sample: "in validation" for own in split.validation.values() for sample in own},
    }
    test = set(split.test)
    seen: dict[str, set[Sample]] = defaultdict(set)
    example: list[str] = []
    for together in identical([*split.test, *parts], progress):
        of_target = [sample for sample in together if sample in test]
        of_sources = [sample for sample in together if sample in parts]
        if of_target and of_sources:
            example = example or [str(own[0].path) for own in (of_target, of_sources)]
            for sample in of_sources:
                seen[parts[sample]].update(of_target)
    if example:
        counts = ", ".join(f"{len(own):,} {part}" for part, own in sorted(seen.items()))
        progress.say(
            f"warning: {len(set().union(*seen.values())):,} of {len(test):,} images of"
            f" {split.target!r} are in the source domains too, byte for byte ({counts}), such as"
            f" {example[0]!r} and {example[1]!r}: they are not unseen"
        )


def _across_domains(samples: Iterable[Sample], key: Callable[[Path], Hashable]) -> list[Together]:
    """Put samples of the same key together, and keep those that stand in several domains."""
    groups: dict[Hashable, Together] = defaultdict(list)
    for sample in samples:
        with suppress(OSError):
            groups[key(sample.path)].append(sample)
    return [own for own in groups.values() if len({sample.domain for sample in own}) > 1]
