"""The models that the engine's benchmarks measure, all with random weights from seed 0."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mascli.importance.images import Images
from mascli.importance.objective import Measure
from mascli.importance.reference import reference_sums
from mascli.models.heads import MultiHeadModel

TASKS = ("base",)

# name: (library, the library's name, its classifier, image size)
MODELS = {
    "alexnet": ("torchvision", "alexnet", "classifier.6", 224),
    "vgg11": ("torchvision", "vgg11", "classifier.6", 224),
    "resnet18": ("torchvision", "resnet18", "fc", 224),
    "resnet50": ("torchvision", "resnet50", "fc", 224),
    "squeezenet1_0": ("torchvision", "squeezenet1_0", "classifier.1", 224),
    "mobilenet_v3_small": ("torchvision", "mobilenet_v3_small", "classifier.3", 224),
    "vit_tiny": ("timm", "vit_tiny_patch16_224", "head", 224),
    "vit_base": ("timm", "vit_base_patch16_224", "head", 224),
    "resnet18@64": ("torchvision", "resnet18", "fc", 64),
    "resnet18@32": ("torchvision", "resnet18", "fc", 32),
}
GPU_ONLY = ("vit_base",)


def default_models(device: str) -> list[str]:
    """All models, or on a CPU those that are small enough for it."""
    return [name for name in MODELS if device.startswith("cuda") or name not in GPU_ONLY]


@dataclass(frozen=True)
class Subject:
    """A model with a batch of images.

    Args:
        pixels: seeded noise [N, 3, H, W].
        shared: size of each parameter that omega is of, by name: all but the classifier's.
    """

    name: str
    pixels: Tensor
    shared: dict[str, int]

    @property
    def device(self) -> str:
        """Where the images are, and the networks are to be."""
        return str(self.pixels.device)

    @property
    def omega_bytes(self) -> int:
        """The size of one omega in float32."""
        return 4 * sum(self.shared.values())

    def network(self) -> nn.Module:
        """A plain network in eval mode, with the same weights every time."""
        return network(self.name, self.device)

    def multi_head(self) -> MultiHeadModel:
        """The same as the engine gets it: with its own classifier as the head of a task."""
        model = MultiHeadModel(self.network(), MODELS[self.name][2], self.pixels[:1])
        model.import_head(TASKS[0])
        return model.eval()


def subject(name: str, images: int, device: str) -> Subject:
    """The model of that name, with `images` images."""
    classifier, size = MODELS[name][2:]
    parameters = network(name, "meta").named_parameters()
    shared = {inside: p.numel() for inside, p in parameters if not inside.startswith(f"{classifier}.")}
    pixels = torch.randn(images, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    return Subject(name, pixels, shared)


def network(name: str, device: str) -> nn.Module:
    """A plain network in eval mode; on `meta` it has no numbers."""
    library, inside = MODELS[name][:2]
    torch.manual_seed(0)
    with torch.device("meta" if device == "meta" else "cpu"):
        if library == "timm":
            import timm

            made: nn.Module = timm.create_model(inside, pretrained=False)
        else:
            import torchvision

            made = torchvision.models.get_model(inside, weights=None)
    return made.to(device).eval()


def reference(one: Subject, images: int) -> dict[str, Tensor]:
    """The definition for the first few images: one image, one backward pass, absolute value, sum."""
    return reference_sums(one.multi_head(), Images(one.pixels[:images]), TASKS, Measure())[0]


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest relative L1 difference of any tensor; one that is zero but for rounding counts against the others."""
    means = {name: float(values.mean()) for name, values in expected.items()}
    floor = 1e-6 * max(means.values())
    return max(
        float((found[name] - values).abs().mean()) / max(means[name], floor) if name in found else float("inf")
        for name, values in expected.items()
    )
