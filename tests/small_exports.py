"""Small models to export, and images that they can be judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from models import made_small
from toy_domains import MODEL, SIZE, write_toy_domains

from edgeprune.domains import leave_one_out, load_images, open_dataset
from edgeprune.exporting import Labelled
from edgeprune.model import DenseOptions, Model, create


def small_model(name: str = MODEL, depth: int = 2, classes: int = 3) -> Model:
    """A shallow model none of whose parameters is zero and whose answers differ from image to
    image.
    """
    with made_small({}, depth):
        options = DenseOptions(num_classes=classes, img_size=SIZE, pretrained=False)
        model = create(name, options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model


def toy_labelled(root: Path, per_class: int = 8) -> Labelled:
    """Three domains of drawings, one held out."""
    dataset = open_dataset(str(write_toy_domains(root, per_class)))
    return Labelled(dataset, leave_one_out(dataset, "night"))


def fit_classifier(model: Model, labelled: Labelled) -> None:
    """Solve for the classifier, so that the model is nearly always right."""
    samples = [sample for own in labelled.split.train.values() for sample in own]
    store = load_images(samples, model.preprocess)
    head: Any = model.module.head
    taken: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    with torch.no_grad():
        model.module.eval()(store.eval_batch(range(len(store))))
        handle.remove()
        features = torch.cat([taken[0], torch.ones(len(store), 1)], 1)
        wanted = torch.nn.functional.one_hot(store.labels, head.out_features).float()
        gram = features.T @ features + 1e-3 * torch.eye(features.shape[1])
        solved = torch.linalg.solve(gram, features.T @ wanted)
        head.weight.copy_(solved[:-1].T)
        head.bias.copy_(solved[-1])


def with_outlier(model: Model, block: int, factor: float = 1e4) -> None:
    """Make one channel huge on its way from a norm to the MLP, which takes it back: the model
    computes the same, but the steps of int8 become too coarse for all other channels.
    """
    part: Any = model.module.get_submodule(f"blocks.{block}")
    with torch.no_grad():
        part.norm2.weight[0] *= factor
        part.norm2.bias[0] *= factor
        part.mlp.fc1.weight[:, 0] /= factor
