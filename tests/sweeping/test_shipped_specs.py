from __future__ import annotations

from pathlib import Path

import pytest
from toy_domains import write_toy_domains

from edgeprune.domains import emoji_is_installed, open_dataset
from edgeprune.sweeping import read_spec
from edgeprune.sweeping.trials import plan

FOLDER = Path(__file__).parents[2] / "sweeps"
PAPER = ("paper-pacs.toml", "paper-office-home.toml")


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_grid(name: str, tmp_path: Path) -> None:
    spec = read_spec(FOLDER / name)
    assert {model.title for model in spec.models} == {"ViT", "BEiT", "DeiT"}
    assert {ratio for block in spec.prune for ratio in block.ratios} == {0.5, 0.75, 0.95}
    assert spec.targets == "all"
    # Any data set shows whether every setting is accepted; these have three domains, PACS four.
    trials = plan(spec, open_dataset(str(write_toy_domains(tmp_path / "toy", per_class=5))))
    dense = [trial for trial in trials if trial.needs is None]
    assert (len(dense) // 3 * 4, (len(trials) - len(dense)) // 3 * 4) == (36, 540)
    assert "36 dense models and 540 pruned ones" in (FOLDER / name).read_text()


@pytest.mark.skipif(not emoji_is_installed(), reason="the extra 'demo' is not installed")
def test_the_evidence() -> None:
    spec = read_spec(FOLDER / "emoji.toml")
    trials = plan(spec, open_dataset(spec.data))
    assert len({trial.key.target for trial in trials}) >= 3
    assert len({trial.key.seed for trial in trials}) >= 2
    assert {trial.key.ratio for trial in trials} >= {0.5, 0.75, 0.95}


@pytest.mark.skipif(not emoji_is_installed(), reason="the extra 'demo' is not installed")
def test_the_curves_start_from_the_dense_models_of_the_evidence() -> None:
    spec, evidence = (read_spec(FOLDER / name) for name in ("emoji-steps.toml", "emoji.toml"))
    data = open_dataset(spec.data)
    dense = {trial.id for trial in plan(evidence, data) if trial.needs is None}
    trials = plan(spec, data)
    assert {trial.needs for trial in trials if trial.needs} < dense
    longest = max(trial.finetune_settings().steps or 0 for trial in trials)
    assert longest == 4 * max(evidence.finetune["steps"], 0)


def test_none_is_forgotten() -> None:
    found = {path.name for path in FOLDER.glob("*.toml")}
    assert found == {*PAPER, "emoji.toml", "emoji-steps.toml"}
