"""From a spec to its trials: what each one does, and which other one it needs first."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.domains import DomainDataset, Split, divide
from edgeprune.errors import UsageError, one_of
from edgeprune.files import sha256
from edgeprune.pretrained import weights_names
from edgeprune.schema import Facts
from edgeprune.sweeping.results import TrialKey
from edgeprune.sweeping.spec import ModelSpec, PruneSpec, SweepSpec
from edgeprune.training import FinetuneSettings
from edgeprune.training.recipes import NONE, Recipe, check_settings, load_recipe
from edgeprune.training.settings import NOT_DECISIVE

if TYPE_CHECKING:
    from edgeprune.pruning import PruneSettings

DIGEST_LENGTH = 10
# Of an id, which is the name of a directory; labels may be long.
SLUG_LENGTH = 120
RECIPE = "recipe"


class Trial(Facts):
    """One trial, as it travels to a worker.

    ``needs`` is the id of the dense trial that it prunes and learns from. The id is made of
    everything that decides the result, so that a changed spec makes new trials of what changed
    and keeps the rest.
    """

    id: str
    key: TrialKey
    needs: str | None
    model: ModelSpec
    split: str | None
    prune: dict[str, Any] | None
    samples: int
    reconstruct_samples: int | None
    finetune: dict[str, Any]
    teacher: bool
    source: str | None = None

    def divide(self, dataset: DomainDataset) -> Split:
        """Hold out what this trial is scored on. Raises UsageError, DataError."""
        target = None if self.source is not None else self.key.target
        return divide(dataset, target=target, source=self.source, by=self.split, seed=self.key.seed)

    def prune_settings(self) -> PruneSettings:
        """Return how the dense model is pruned."""
        from edgeprune.pruning import PruneSettings

        assert self.prune is not None  # asked of pruned trials only
        options = {**self.prune, "dims": tuple(self.prune["dims"])}
        return PruneSettings(**options, seed=self.key.seed)

    def finetune_settings(self) -> FinetuneSettings:
        """Return how the model is fine-tuned."""
        return FinetuneSettings(**self.finetune, seed=self.key.seed)


def plan(spec: SweepSpec, dataset: DomainDataset) -> list[Trial]:
    """Return every trial of a sweep, each after the one that it needs.

    Models and prunings are not checked yet: see :func:`check_models_and_prunings`.

    Raises:
        UsageError: naming the value of the spec that is not accepted.
        DataError: if a split of the data is not possible.
    """
    _check_titles(spec)
    for where, table in (("dense", spec.dense), ("finetune", spec.finetune)):
        finetune_options(table, where)  # checked without any pruning, too
    held_out = _held_out(spec, dataset)
    # Seed by seed, and in each the dense models first, then one pruning of every model and target
    # after another: a sweep that is stopped, or looked at while it runs, has whole rows.
    placed = [
        (turn, place, trial)
        for turn, seed in enumerate(spec.seeds)
        for target, source in held_out
        for model in spec.models
        for place, trial in enumerate(_of_one_model(spec, dataset, model, target, source, seed))
    ]
    trials = [trial for *_, trial in sorted(placed, key=itemgetter(0, 1))]
    _check_distinct(trials)
    return trials


def check_models_and_prunings(trials: Sequence[Trial], classes: int) -> None:
    """Check what needs timm and torch to be known, which take seconds to load.

    Args:
        trials: all trials.
        classes: how many the data have.

    Raises:
        UsageError, ModelError: naming the value that is not accepted.
    """
    from edgeprune.model import DenseOptions, check_dense

    for model in dict.fromkeys(trial.model for trial in trials):
        named = model.weights is None or model.weights in weights_names()
        weights = None if named else Path(str(model.weights))
        options = DenseOptions(num_classes=classes, img_size=model.img_size, weights=weights)
        check_dense(model.name, options)
    for trial in trials:
        if trial.prune is not None:
            trial.prune_settings()


def _held_out(spec: SweepSpec, dataset: DomainDataset) -> list[tuple[str, str | None]]:
    """Return what is held out in turn, each with the only domain trained on, if it is only one."""
    named = spec.targets if spec.sources is None else spec.sources
    found: list[tuple[str, str | None]] = []
    for domain in dataset.domains if named == "all" else named:
        one_of(domain, "target" if spec.sources is None else "source", dataset.domains)
        source = domain if spec.sources is not None else None
        target = domain if spec.sources is None else None
        for seed in spec.seeds:
            split = divide(dataset, target=target, source=source, by=spec.split, seed=seed)
        found.append((split.target, source))
    return found


def finetune_options(
    table: Mapping[str, Any], where: str, general: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the settings that a table of a spec names, laid over those of a ``general`` one.

    What a table says goes before its recipe, and both go before all that is more general.

    Raises:
        UsageError: for an unknown key, naming the nearest, or a value that is not accepted.
    """
    try:
        given = check_settings({k: v for k, v in table.items() if k != RECIPE}, extra=(RECIPE,))
        recipe = load_recipe(str(table[RECIPE])) if RECIPE in table else NONE
    except UsageError as error:
        raise UsageError(f"{where}: {error}", hint=error.hint) from None
    below = finetune_options(general, "finetune") if general else {}
    return Recipe("", "", below).merged(recipe.merged(given))


def _of_one_model(
    spec: SweepSpec,
    dataset: DomainDataset,
    model: ModelSpec,
    target: str,
    source: str | None,
    seed: int,
) -> Iterator[Trial]:
    # Said or not, the data set's own split is the same.
    split = None if spec.split == dataset.default_split else spec.split
    common = {
        "model": model.title,
        "timm_name": model.name,
        "data": dataset.name,
        "target": target,
        "seed": seed,
    }
    dense = _trial(
        dataset,
        TrialKey(kind="dense", **common),
        needs=None,
        model=model,
        split=split,
        source=source,
        prune=None,
        samples=0,
        reconstruct_samples=None,
        finetune=finetune_options(spec.dense, "dense"),
        teacher=False,
    )
    yield dense
    for index, block in enumerate(spec.prune):
        for metric in block.metrics:
            for ratio in block.ratios:
                yield _trial(
                    dataset,
                    TrialKey(
                        kind="pruned",
                        **common,
                        metric=metric,
                        ratio=ratio,
                        budget=block.budget,
                        scope=block.scope,
                    ),
                    needs=dense.id,
                    model=model,
                    split=split,
                    source=source,
                    prune=_prune_options(block, metric, ratio),
                    samples=block.samples,
                    reconstruct_samples=block.reconstruct_samples,
                    finetune=finetune_options(
                        block.finetune, f"prune.{index}.finetune", spec.finetune
                    ),
                    teacher=spec.teacher,
                )


def _prune_options(block: PruneSpec, metric: str, ratio: float) -> dict[str, Any]:
    options = block.model_dump(
        exclude={"metrics", "ratios", "samples", "reconstruct_samples", "finetune"}
    )
    return {**options, "metric": metric, "ratio": ratio}


def _trial(dataset: DomainDataset, key: TrialKey, **facts: Any) -> Trial:
    """Make a trial, check how it is fine-tuned, and name it by what decides its result."""
    decisive = {
        "data": dataset.fingerprint,
        **{name: value for name, value in facts.items() if name != "model"},
        "finetune": {k: v for k, v in facts["finetune"].items() if k not in NOT_DECISIVE},
        # Without the labels that stand before the digest.
        "needs": facts["needs"] and facts["needs"][-DIGEST_LENGTH:],
        "model": _origin(facts["model"]),
        "target": key.target,
        "seed": key.seed,
    }
    # Without what is not said, so that a setting that is new leaves the trials before it alone.
    said = {name: value for name, value in decisive.items() if value is not None}
    text = json.dumps(said, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
    parts = [key.model, key.metric, key.ratio, key.budget, key.target, f"seed{key.seed}"]
    words = [str(part) for part in parts if part is not None] + ([] if key.metric else ["dense"])
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-.").lower()[:SLUG_LENGTH]
    trial = Trial(id=f"{slug}-{digest}", key=key, **facts)
    trial.finetune_settings()
    return trial


def _origin(model: ModelSpec) -> dict[str, Any]:
    """Say what decides the weights that a model starts from; of a file that is what is in it."""
    facts = model.model_dump(exclude={"label"})
    if model.weights is None or model.weights in weights_names():
        return facts
    path = Path(model.weights)
    if not path.is_file():
        raise UsageError(
            f"weights {model.weights!r} of model {model.title!r} are neither a file nor a name;"
            f" names: {', '.join(weights_names())}"
        )
    return {**facts, "weights": _content(path, path.stat().st_mtime_ns)}


@cache
def _content(path: Path, mtime_ns: int) -> str:
    """Hash a file once, however many trials start from it."""
    return sha256(path)


def _check_titles(spec: SweepSpec) -> None:
    titles = [model.title for model in spec.models]
    for title in titles:
        if titles.count(title) > 1:
            raise UsageError(
                f"two models are called {title!r}", hint="give each a label of its own"
            )


def _check_distinct(trials: list[Trial]) -> None:
    ids = [trial.id for trial in trials]
    for identity in ids:
        if ids.count(identity) > 1:
            raise UsageError(f"the spec asks for the same trial twice: {identity}")
