"""The path integral against closed forms, and what belongs to it: the task's gradient and the whole step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mascli.training.regularizer import Regularizer
from mascli.training.synaptic_intelligence import PathIntegral

Losses = Callable[[], Tensor]


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def watched(parameters: dict[str, nn.Parameter], damping: float = 0.1) -> PathIntegral:
    return PathIntegral(parameters, {name: p.detach().clone() for name, p in parameters.items()}, damping)


def descend(
    loss: Losses, optimizer: torch.optim.Optimizer, regularizers: list[Regularizer], steps: int, clip: float = 0.0
) -> None:
    """The order of the loop."""
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        for regularizer in regularizers:
            regularizer.after_backward()
        if clip:
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
        for regularizer in regularizers:
            regularizer.before_step()
        optimizer.step()
        for regularizer in reversed(regularizers):
            regularizer.after_step()


class Pull(Regularizer):
    """Adds to the gradient before the step and pulls towards 0 after it, as penalties do."""

    def __init__(self, theta: nn.Parameter, added: float, pulled: float) -> None:
        self.theta, self.added, self.pulled = theta, added, pulled

    def before_step(self) -> None:
        assert self.theta.grad is not None
        self.theta.grad += self.added

    def after_step(self) -> None:
        with torch.no_grad():
            self.theta *= 1 - self.pulled


def test_on_a_quadratic_the_path_integral_is_that_of_the_geometric_series() -> None:
    """Loss h/2 (theta - c)^2: theta - c shrinks by r = 1 - lr h a step, and -g dtheta = lr h^2 (theta - c)^2."""
    h, c, start, lr, steps = 2.0, 3.0, 0.5, 0.1, 7
    theta = parameter(start)
    path = watched({"w": theta}, damping=0.25)
    descend(lambda: (h / 2 * (theta - c) ** 2).sum(), torch.optim.SGD([theta], lr=lr), [path], steps)
    r = 1 - lr * h
    expected = lr * h**2 * (start - c) ** 2 * (1 - r ** (2 * steps)) / (1 - r**2)
    assert float(path.path["w"]) == pytest.approx(expected, rel=1e-12)
    moved = (start - c) * (r**steps - 1)
    assert float(path.omega()["w"]) == pytest.approx(expected / (moved**2 + 0.25), rel=1e-6)


def test_in_small_steps_each_parameters_path_is_its_part_of_the_fall_of_the_loss() -> None:
    h = torch.tensor([1.0, 3.0, 0.2], dtype=torch.float64)
    theta = parameter(1.0, -2.0, 0.5)
    path = watched({"w": theta})
    parts = (h / 2 * theta.detach() ** 2).clone()
    descend(lambda: (h / 2 * theta**2).sum(), torch.optim.SGD([theta], lr=1e-4), [path], 3000)
    torch.testing.assert_close(path.path["w"], parts - h / 2 * theta.detach() ** 2, rtol=1e-3, atol=0)


@pytest.mark.parametrize(("momentum", "clip"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.01)])
def test_over_all_parameters_of_a_network_it_sums_to_the_fall_of_the_loss(momentum: float, clip: float) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    images, labels = torch.randn(20, 4, dtype=torch.float64), torch.randint(3, (20,))
    path = watched(dict(network.named_parameters()))

    def loss() -> Tensor:
        return nn.functional.cross_entropy(network(images), labels)

    first = float(loss().detach())
    rate = 0.002 if not clip else 0.05
    descend(loss, torch.optim.SGD(network.parameters(), lr=rate, momentum=momentum), [path], 400, clip)
    fall = first - float(loss().detach())
    assert fall > 0.01
    assert sum(float(part.sum()) for part in path.path.values()) == pytest.approx(fall, rel=0.02)


def test_the_gradient_is_the_tasks_alone_and_the_step_is_the_whole_one() -> None:
    theta = parameter(2.0)
    path = watched({"w": theta})
    pull = Pull(theta, added=10.0, pulled=0.5)
    descend(lambda: (3 * theta).sum(), torch.optim.SGD([theta], lr=0.1), [path, pull], 1)
    end = (2.0 - 0.1 * (3 + 10)) * 0.5
    assert float(theta.detach()) == pytest.approx(end)
    assert float(path.path["w"]) == pytest.approx(-3 * (end - 2.0))


def test_a_path_that_raised_the_loss_has_no_importance() -> None:
    theta = parameter(2.0, 2.0)
    path = watched({"w": theta})
    pull = Pull(theta, added=-10.0, pulled=0.0)  # uphill for both but by different ways
    descend(lambda: 3 * theta[0] + 0 * theta[1], torch.optim.SGD([theta], lr=0.1), [path, pull], 1)
    assert float(path.path["w"][0]) < 0
    assert torch.equal(path.omega()["w"], torch.zeros(2))


def test_clipping_changes_the_step_and_not_the_gradient() -> None:
    theta = parameter(2.0)
    path = watched({"w": theta})
    descend(lambda: (3 * theta).sum(), torch.optim.SGD([theta], lr=0.1), [path], 1, clip=1.0)
    assert float(path.path["w"]) == pytest.approx(3 * 0.1 * 1.0, rel=1e-5)


def test_damping_bounds_the_importance_of_what_hardly_moved_and_has_to_be_positive() -> None:
    theta = parameter(1.0)
    path = watched({"w": theta}, damping=0.5)
    path.path["w"].fill_(3.0)
    assert float(path.omega()["w"]) == pytest.approx(6.0)
    with pytest.raises(ValueError, match="damping must be positive"):
        watched({"w": theta}, damping=0.0)


def test_a_parameter_without_a_gradient_takes_no_part() -> None:
    used, unused, sometimes = parameter(1.0), parameter(1.0), parameter(1.0)
    path = watched({"used": used, "unused": unused, "sometimes": sometimes})
    optimizer = torch.optim.SGD([used, unused, sometimes], lr=0.1)
    descend(lambda: (used + sometimes).sum(), optimizer, [path], 1)
    descend(lambda: used.sum(), optimizer, [path], 1)
    assert [float(path.path[n]) for n in ("used", "unused", "sometimes")] == pytest.approx([0.2, 0, 0.1])
    descend(lambda: torch.zeros((), requires_grad=True), optimizer, [path], 1)
    assert float(path.path["used"]) == pytest.approx(0.2)


def test_a_resumed_path_comes_to_the_same_bits() -> None:
    def run(steps: tuple[int, ...]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        torch.manual_seed(0)
        layer, images, labels = nn.Linear(4, 3), torch.randn(8, 4), torch.randint(3, (8,))
        start = {name: p.detach().clone() for name, p in layer.named_parameters()}
        path = PathIntegral(dict(layer.named_parameters()), start)
        for count in steps:
            kept = {name: tensor.clone() for name, tensor in path.state().items()}
            path = PathIntegral(dict(layer.named_parameters()), start)
            path.load_state(kept)
            optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
            descend(lambda: nn.functional.cross_entropy(layer(images), labels), optimizer, [path], count)
        return path.state(), path.omega()

    (whole, omega), (resumed, resumed_omega) = run((6,)), run((2, 3, 1))
    assert whole.keys() == {"weight", "bias"} == omega.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert all(torch.equal(omega[name], resumed_omega[name]) for name in omega)
    assert all(tensor.dtype == torch.float32 and (tensor > 0).any() for tensor in omega.values())
