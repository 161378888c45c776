"""Two small networks for small images: a perceptron and a convolutional net of any input size."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with ReLU between them on the flattened image; the last one is the classifier.

    Args:
        inputs: numbers in one image (channels * height * width).
        classes: outputs of the classifier.
        hidden: widths of the hidden layers, joined by dashes: `256-256`.
    """

    def __init__(self, inputs: int, classes: int, hidden: str = "256-256") -> None:
        super().__init__()
        widths = [inputs, *(_within(int(width), 65536, "width") for width in str(hidden).split("-"))]
        layers = OrderedDict[str, nn.Module]()
        for number, (fan_in, fan_out) in enumerate(pairwise(widths), 1):
            layers[f"linear{number}"] = nn.Linear(fan_in, fan_out)
            layers[f"relu{number}"] = nn.ReLU()
        self.hidden = nn.Sequential(layers)
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W]."""
        return self.classifier(self.hidden(images.flatten(1)))  # type: ignore[no-any-return]


class ConvNet(nn.Module):
    """Blocks of 3x3 convolution, batch norm (if asked for), ReLU and pooling by 2, then a classifier.

    Args:
        channels: channels of an image.
        classes: outputs of the classifier.
        width: channels after the first block; each block doubles them.
        depth: number of blocks.
        norm: put batch norm after each convolution.
    """

    def __init__(self, channels: int, classes: int, width: int = 32, depth: int = 3, norm: bool = False) -> None:
        super().__init__()
        last = _within(width, 4096, "width") * 2 ** (_within(depth, 12, "depth") - 1)
        widths = [channels, *(width * 2**level for level in range(depth))]
        _within(last, 65536, "width of the last block")
        layers = OrderedDict[str, nn.Module]()
        for number, (fan_in, fan_out) in enumerate(pairwise(widths), 1):
            layers[f"conv{number}"] = nn.Conv2d(fan_in, fan_out, 3, padding=1)
            if norm:
                layers[f"norm{number}"] = nn.BatchNorm2d(fan_out)
            layers[f"relu{number}"] = nn.ReLU()
            layers[f"pool{number}"] = nn.MaxPool2d(2, ceil_mode=True)  # an odd or single pixel stays
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Linear(widths[-1] * 4, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W]."""
        return self.classifier(self.pool(self.features(images)).flatten(1))  # type: ignore[no-any-return]


def _within(value: int, most: int, name: str) -> int:
    if not 1 <= value <= most:
        raise ValueError(f"{name} must be 1 to {most}, not {value}")
    return value
