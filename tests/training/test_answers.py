"""Which images a norm sees, and what is in training mode, while a task is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mascli.models.heads import MultiHeadModel
from mascli.training.answers import step_outputs
from mascli.training.batches import Batch
from mascli.training.loop import set_training_mode


def outputs_in_training(batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor], MultiHeadModel]:
    """Of a network whose tasks have norms of their own: outputs, the new task's statistics, and the network."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    model = MultiHeadModel(layers, "", torch.zeros(2, 1, 4, 4))
    model.import_head("old")
    model.add_head("new", 2)
    model.own_normalisation()
    model.own.add(model.network, "new")
    set_training_mode(model, train_batchnorm=True)
    outputs = step_outputs(model, batch, ("new", "old"), ())
    return outputs, {n: t.clone() for n, t in model.state_dict().items() if n.startswith("network.1.")}, model


def test_norms_of_each_tasks_own_see_that_tasks_images_alone() -> None:
    images, owners = torch.randn(6, 1, 4, 4), torch.tensor([0, 1, 0, 1, 1, 0])
    own, statistics, _ = outputs_in_training(Batch(images[owners == 0], owners[:3]))
    mixed, found, model = outputs_in_training(Batch(images, owners, owners))
    assert torch.equal(mixed["new"][owners == 0], own["new"])
    assert all(torch.equal(tensor, statistics[name]) for name, tensor in found.items())
    old = model.eval()(images[owners == 1], ("old",))[0]  # by the statistics that it had
    assert torch.equal(mixed["old"][owners == 1], old) and not mixed["old"][owners == 0].any()
    single, unmoved, _ = outputs_in_training(Batch(images[:2], owners[:2], owners[:2]))
    assert single["new"].isfinite().all() and not unmoved["network.1.running_mean"].any()  # of one image: no statistics
    assert found["network.1.running_mean"].any()
    assert set(outputs_in_training(Batch(images[:2], owners[:2], torch.ones(2)))[0]) == {"old"}


class Stored(nn.Module):
    """A block that stores a number, with dropout inside of it."""

    def __init__(self, persistent: bool) -> None:
        super().__init__()
        self.drop = nn.Dropout()
        self.register_buffer("scale", torch.ones(1), persistent=persistent)


def test_what_keeps_statistics_stays_and_what_is_inside_of_it_or_only_has_a_table_learns() -> None:
    model = nn.Sequential(Stored(True), Stored(False), nn.BatchNorm2d(2), nn.Dropout())
    set_training_mode(model, train_batchnorm=False)
    assert [module.training for module in model] == [False, True, False, True]
    assert model[0].drop.training and model[1].drop.training
    set_training_mode(model, train_batchnorm=True)
    assert all(module.training for module in model.modules())
