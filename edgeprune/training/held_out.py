"""Which domains and images an evaluation holds out, and whether they were trained on before."""

from __future__ import annotations

from edgeprune.domains import DomainDataset, Split, divide
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import ArtifactRecord, DataFacts
from edgeprune.selection import ORACLE, selection_of


def choose_split(
    dataset: DomainDataset,
    record: ArtifactRecord | None = None,
    *,
    target: str | None = None,
    source: str | None = None,
    by: str | None = None,
    seed: int | None = None,
    progress: Progress = SILENT,
) -> Split:
    """Divide the data as the artifact's training did, unless told otherwise.

    What differs from training in a way that flatters the model is said through ``progress``.

    Raises:
        UsageError: if neither ``target``, ``source`` nor the record says which domains are held
            out, or one is unknown.
    """
    trained = trained_on(record, dataset) if record else None
    if trained is None:
        return divide(dataset, target=target, source=source, by=by, seed=seed or 0)
    if target is None and source is None:
        alone = len(trained.sources) == 1
        target, source = (None, trained.sources[0]) if alone else (trained.target, None)
    split = divide(
        dataset,
        target=target,
        source=source,
        by=by if by is not None else trained.split.by,
        seed=seed if seed is not None else trained.split.seed,
        holdout=trained.split.holdout,
    )
    if record is not None:
        warn_of_leaks(record, dataset, split, "the model", progress)
    return split


def trained_on(record: ArtifactRecord, dataset: DomainDataset) -> DataFacts | None:
    """Return which part of ``dataset`` the artifact was last made with, if any."""
    used = [step.data for step in record.made if step.data and step.data.dataset == dataset.name]
    return used[-1] if used else None


def warn_of_leaks(
    record: ArtifactRecord, dataset: DomainDataset, split: Split, who: str, progress: Progress
) -> None:
    """Say if what ``split`` scores may have been trained on, or used to pick a step, before."""
    if selection_of(record.made) == "oracle":
        progress.say(f"note: {who} was made by {ORACLE}")
    for step in record.made:
        used = step.data
        if used is None or used.dataset != dataset.name:
            continue
        sources = used.sources or [name for name in dataset.domains if name != used.target]
        seen = [name for name in split.targets if name in sources]
        if seen:
            progress.say(
                f"note: {who} was made ({step.command}) with images of {', '.join(seen)}: its"
                " accuracy there is not that on an unseen domain"
            )
        elif used.split != split.facts:
            progress.say(
                f"note: {who} was made ({step.command}) with another split: images that are"
                " scored now may have been trained on"
            )
        elif used.fingerprint != dataset.fingerprint:
            progress.say(
                f"note: data set {dataset.name!r} has changed since {who} was made"
                f" ({step.command}): images that are scored now may have been trained on"
            )
        else:
            continue
        return
