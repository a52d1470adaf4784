"""The grid that a person writes down: ``SPEC.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from edgeprune.domains.dataset import EMOJI
from edgeprune.errors import UsageError, nearest, one_of
from edgeprune.packages import shipped_directory
from edgeprune.toml_files import parse_toml, read_toml_text

Options = dict[str, Any]
Batch = Annotated[StrictInt, Field(ge=1)]


class _Table(BaseModel):
    """A table of the file; keys that it does not have are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSpec(_Table):
    """One dense model: where it starts from, and what it is called in tables.

    ``weights`` is a name of ``edgeprune weights list`` or a safetensors file; without it the
    model starts from its hub weights, or with ``pretrained = false`` from random ones.
    """

    name: str
    label: str = ""
    img_size: StrictInt | None = Field(default=None, ge=1)
    weights: str | None = None
    pretrained: StrictBool = True

    @property
    def title(self) -> str:
        """What the model is called."""
        return self.label or self.name


class PruneSpec(_Table):
    """A block of prunings: every metric with every ratio, all other settings alike.

    ``finetune`` holds what differs here from the sweep's own ``[finetune]``; the remaining keys
    are those of ``edgeprune prune``.
    """

    metrics: tuple[str, ...] = Field(min_length=1)
    ratios: tuple[StrictFloat, ...] = Field(min_length=1)
    budget: str = "channels"
    scope: str = "global"
    cost: str | None = None
    dims: tuple[str, ...] = ("embed", "heads", "mlp")
    round_to: StrictInt = 8
    max_ratio: StrictFloat = 1.0
    steps: StrictInt = 1
    reconstruct: StrictBool = True
    samples: StrictInt = Field(default=256, ge=1)
    reconstruct_samples: StrictInt | None = Field(default=None, ge=1)
    finetune: Options = {}


class BenchSpec(_Table):
    """How the models are timed once all are trained."""

    runtime: str = "onnxruntime"
    device: str = "cpu"
    batches: tuple[Batch, ...] = Field(default=(1,), min_length=1)
    threads: StrictInt = Field(default=1, ge=1)
    min_time: StrictFloat = Field(default=3.0, gt=0, allow_inf_nan=False)

    @field_validator("runtime")
    @classmethod
    def _runtime(cls, runtime: str) -> str:
        from edgeprune.benchmarking import runtimes

        if runtimes.get(runtime).FORMAT == "engine":
            raise ValueError("a sweep has no engines; onnxruntime or torch times its models")
        return runtime

    @field_validator("device")
    @classmethod
    def _device(cls, device: str) -> str:
        from edgeprune.devices import DEVICES

        return one_of(device, "device", DEVICES)

    @model_validator(mode="after")
    def _together(self) -> BenchSpec:
        if self.runtime == "onnxruntime-tensorrt" and self.device != "cuda":
            raise ValueError("runtime onnxruntime-tensorrt needs device = 'cuda'")
        return self


class SweepSpec(_Table):
    """A sweep: models x prunings x targets x seeds.

    With ``sources`` in the place of ``targets`` every trial trains on one domain and is scored on
    all others.

    Attributes:
        name: heading of its tables.
        data: ``emoji`` or a folder, as of ``--data``.
        split: ``file`` or ``group``; None is the data set's own.
        targets: domains that are held out, one after another; ``all`` is every one.
        sources: domains that are trained on alone, one after another; ``all`` is every one.
        seeds: trial seeds; each decides split, classifier, batches and pruning.
        dense: settings of fine-tuning the dense models, as of ``edgeprune finetune``; ``recipe``
            names one that they start from.
        finetune: settings of fine-tuning the pruned models.
        teacher: distil from the dense model of the same target and seed.
        bench: None leaves timing out.
    """

    name: str
    data: str
    split: str | None = None
    targets: tuple[str, ...] | Literal["all"] = "all"
    sources: tuple[str, ...] | Literal["all"] | None = None
    seeds: tuple[StrictInt, ...] = Field(default=(0,), min_length=1)
    models: tuple[ModelSpec, ...] = Field(min_length=1)
    prune: tuple[PruneSpec, ...] = ()
    dense: Options = {}
    finetune: Options = {}
    teacher: StrictBool = True
    bench: BenchSpec | None = None

    @field_validator("targets")
    @classmethod
    def _targets(cls, targets: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if not targets:
            raise ValueError("no target; leave the key out for every domain")
        return targets

    @field_validator("sources")
    @classmethod
    def _sources(cls, sources: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
        if sources is not None and not sources:
            raise ValueError("no source; 'all' is every domain")
        return sources

    @model_validator(mode="after")
    def _one_protocol(self) -> SweepSpec:
        if self.sources is not None and "targets" in self.model_fields_set:
            raise ValueError("targets and sources: give one of the two")
        return self

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        for seed in seeds:
            if not 0 <= seed < 2**32:
                raise ValueError(f"seed {seed} is not accepted; 0 to {2**32 - 1} is")
        return seeds


def read_spec(reference: str | Path) -> SweepSpec:
    """Read and validate a sweep's file, or one that comes with edgeprune by name.

    Raises:
        UsageError: if it is missing, no TOML, or has an unknown key (naming the nearest) or a
            value that is not accepted.
    """
    return parse_spec(spec_text(reference), str(reference))


def located(spec: SweepSpec) -> SweepSpec:
    """Make the paths in a spec absolute, for workers that run in another directory."""
    models = [
        model.model_copy(update={"weights": _located(model.weights)})
        if model.weights and Path(model.weights).exists()
        else model
        for model in spec.models
    ]
    data = spec.data if spec.data == EMOJI else _located(spec.data)
    return spec.model_copy(update={"data": data, "models": tuple(models)})


def _located(path: str) -> str:
    return str(Path(path).absolute())


def spec_text(reference: str | Path) -> str:
    """Return the text of a file whose name ends in .toml, or of a sweep that comes with edgeprune.

    Raises:
        UsageError: if it is missing, cannot be read or is no text.
    """
    path = Path(reference)
    if path.suffix != ".toml":
        path = sweeps_directory() / f"{one_of(str(reference), 'sweep', sweep_names())}.toml"
    return read_toml_text(path, f"spec {str(path)!r}")


def sweep_names() -> list[str]:
    """Return the names of the sweeps that come with edgeprune, sorted."""
    return sorted(path.stem for path in sweeps_directory().glob("*.toml"))


def sweeps_directory() -> Path:
    """Return where the sweeps lie: inside the installed package, or in the checkout."""
    return shipped_directory("sweeps")


def parse_spec(text: str, name: str) -> SweepSpec:
    """Validate a spec; ``name`` is for messages. Raises UsageError."""
    raw = parse_toml(text, f"spec {name!r}")
    try:
        return SweepSpec.model_validate(raw)
    except ValidationError as problem:
        # An unknown key first: it may be the cause of one that is missing.
        first = min(problem.errors(), key=lambda found: found["type"] != "extra_forbidden")
        where = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
        if first["type"] == "extra_forbidden":
            key = str(first["loc"][-1])
            accepted = sorted(_table_of(first["loc"]).model_fields)
            raise UsageError(
                f"spec {name!r}: unknown key {where!r}; accepted: {', '.join(accepted)}",
                hint=nearest(key, accepted),
            ) from None
        raise UsageError(
            ": ".join(filter(None, [f"spec {name!r}", where, _sentence(first)]))
        ) from None


def _table_of(location: tuple[int | str, ...]) -> type[BaseModel]:
    tables: dict[str, type[BaseModel]] = {
        "models": ModelSpec,
        "prune": PruneSpec,
        "bench": BenchSpec,
    }
    return tables.get(str(location[0]), SweepSpec) if len(location) > 1 else SweepSpec


def _sentence(problem: Any) -> str:
    text = str(problem["msg"])
    text = text.removeprefix("Value error, ").removeprefix("Input should be ")
    if "valid tuple" in text or "tuple[" in text:
        text = "a list in brackets was expected"
    elif problem["type"] == "too_short":
        text = "an empty list is not accepted"
    elif problem["type"] == "missing":
        text = "it is missing"
    value = problem.get("input")
    simple = isinstance(value, str | int | float | bool)
    return f"{value!r} is not accepted: {text}" if simple and repr(value) not in text else text
