"""Learning without Forgetting: on the new images, the old heads shall answer as they did.

Li, Hoiem: *Learning without Forgetting*, ECCV 2016, arXiv 1606.09282. The temperature is from Hinton,
Vinyals, Dean: *Distilling the Knowledge in a Neural Network*, 2015, arXiv 1503.02531.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mascli.models.heads import MultiHeadModel
from mascli.training.regularizer import Regularizer


class Distillation(Regularizer):
    """Adds to the task's loss how far the old tasks' answers have come from those of the starting model.

        weight · Σ_old T² · (1/N) Σ_k KL(softmax(z*_k / T) ‖ softmax(z_k / T))

    for the N new images of a batch, z*_k being an old head's outputs in the starting model (in eval
    mode), and z_k in the one that learns. The old heads themselves are not trained: hand the
    optimiser none of their parameters.

    Args:
        model: the model that is about to learn. A copy of it as it is now is the teacher, so make
            this before the first step, and before a resumed run loads what it has learned.
        tasks: the old tasks, whose heads the model has.
        weight: of the sum, >= 0, beside 1 for the new task's loss in nats.
        temperature: T > 0; the higher, the more the small probabilities count.
    """

    def __init__(self, model: MultiHeadModel, tasks: tuple[str, ...], weight: float, temperature: float = 2.0) -> None:
        self.tasks, self.weight, self.temperature = tuple(tasks), weight, temperature
        self.model = model
        self.teacher = copy.deepcopy(model).eval().requires_grad_(False)

    def loss(self, images: Tensor, outputs: Mapping[str, Tensor] | None = None) -> Tensor | None:
        """The weighted sum for these images [N, C, H, W], in nats; None without old tasks.

        Args:
            outputs: the learning model's outputs [N, classes] for these images, by task. Without
                them, the model is run once more.
        """
        if not self.tasks:
            return None
        if outputs is None:
            outputs = dict(zip(self.tasks, self.model(images, self.tasks), strict=True))
        with torch.no_grad():
            wanted = self.teacher(images, self.tasks)
        parts = [
            divergence(outputs[task], target, self.temperature) for task, target in zip(self.tasks, wanted, strict=True)
        ]
        return self.weight * torch.stack(parts).sum()


def divergence(outputs: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """T² · KL(softmax(wanted / T) ‖ softmax(outputs / T)), the mean over images, in nats.

    Its gradient by the outputs z of one of N images is (T / N) (softmax(z / T) − softmax(wanted / T)).
    The cross-entropy −Σ p* log p of the paper differs by T² and by a constant, the entropy of p*, so
    that this one is 0 where nothing has changed. T² keeps the gradient from shrinking with T: for
    large T it is (z − wanted) / (N · classes), for centred outputs, whatever T.

    Args:
        outputs, wanted: [N, classes].
    """
    old, new = F.log_softmax(wanted / temperature, dim=1), F.log_softmax(outputs / temperature, dim=1)
    return temperature**2 * F.kl_div(new, old, reduction="batchmean", log_target=True)
