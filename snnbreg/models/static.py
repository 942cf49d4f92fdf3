"""Networks without spikes and without memory: a perceptron, a convolutional network, a ResNet.

T steps (1 for images), B batch, C values of a step, K outputs; an image has the shape (colours,
height, width) and C = colours x height x width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

Image = tuple[int, int, int]

WEIGHT_INITS = ("default", "kaiming_normal", "xavier_normal")
BIAS_INITS = ("default", "positive", "zeros")


class StaticNetwork(nn.Module):
    """A network to which every step is a sample of its own; classes to subclass.

    A subclass writes ``compute``. Its weights are those of ``nn.Linear`` and ``nn.Conv2d``.

    Shape:
        frames (T, B, C) -> outputs (T, B, K); for images T = 1.
    """

    def forward(self, frames: Tensor) -> Tensor:
        """Outputs of every step."""
        return self.compute(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def compute(self, samples: Tensor) -> Tensor:
        """Outputs (n, K) of samples (n, C)."""
        raise NotImplementedError


class MLP(StaticNetwork):
    """A multilayer perceptron with ReLUs; an autoencoder where the outputs are the inputs.

    Args:
        inputs: C.
        outputs: K.
        hidden: neurons per hidden layer.
        final_relu: a ReLU after the last layer, too. The published code has one, so that no class
            score is below zero; without it the last layer is linear.
        weight_init, weight_factor, bias_init, bias_factor: see :func:`initialise_`.

    Example:
        >>> network = MLP(784, 10)
        >>> [tuple(layer.weight.shape) for layer in network.layers]
        [(200, 784), (80, 200), (10, 80)]

    Reference: Bungert et al. 2021, arXiv 2105.04319: 784-200-80-10 in section 4.2, six matrices of
    784 x 784 in section 4.6.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (200, 80),
        final_relu: bool = False,
        weight_init: str = "kaiming_normal",
        weight_factor: float = 1.0,
        bias_init: str = "default",
        bias_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.layers = _linears([inputs, *hidden, outputs])
        self.final_relu = final_relu
        initialise_(self, weight_init, weight_factor, bias_init, bias_factor)

    def compute(self, samples: Tensor) -> Tensor:
        """Outputs (n, K) of samples (n, C)."""
        outputs = _perceptron(self.layers, samples)
        return torch.relu(outputs) if self.final_relu else outputs


class ConvNet(StaticNetwork):
    """Convolutions, each with max-pooling by 2 and a ReLU, then linear layers.

    Args:
        image: (colours, height, width).
        outputs: K.
        channels: of each convolution.
        kernel: height and width of the kernels; nothing is padded.
        hidden: neurons per hidden linear layer.
        weight_init, weight_factor, bias_init, bias_factor: see :func:`initialise_`.

    Raises:
        ValueError: the frames are no whole images, or nothing would be left of them.

    Example:
        >>> network = ConvNet((1, 28, 28), 10)
        >>> [tuple(module.weight.shape) for module in (*network.convs, *network.linears)]
        [(64, 1, 5, 5), (64, 64, 5, 5), (128, 1024), (10, 128)]

    Reference: the network of tables 1 and 2 in Bungert et al. 2021, arXiv 2105.04319.
    """

    def __init__(
        self,
        image: Image | None,
        outputs: int,
        channels: Sequence[int] = (64, 64),
        kernel: int = 5,
        hidden: Sequence[int] = (128,),
        weight_init: str = "kaiming_normal",
        weight_factor: float = 1.0,
        bias_init: str = "default",
        bias_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.image = _checked(image)
        colours, height, width = self.image
        for _ in channels:
            height, width = (height - kernel + 1) // 2, (width - kernel + 1) // 2
        if min(height, width) < 1:
            raise ValueError(
                f"nothing is left of an image of {image} after {len(channels)} convolutions with "
                f"kernel={kernel} and pooling: take fewer or smaller ones."
            )
        self.convs = nn.ModuleList(
            nn.Conv2d(senders, receivers, kernel)
            for senders, receivers in pairwise([colours, *channels])
        )
        features = [colours, *channels][-1] * height * width
        self.linears = _linears([features, *hidden, outputs])
        initialise_(self, weight_init, weight_factor, bias_init, bias_factor)

    def compute(self, samples: Tensor) -> Tensor:
        """Outputs (n, K) of samples (n, C)."""
        x = samples.unflatten(1, self.image)
        for conv in self.convs:
            x = torch.relu(nn.functional.max_pool2d(conv(x), 2))
        return _perceptron(self.linears, x.flatten(1))


class ResNet(StaticNetwork):
    """A residual network for small images; with its defaults ResNet-18 with a 3 x 3 stem.

    Args:
        image: (colours, height, width), such as (3, 32, 32).
        outputs: K.
        width: channels of the first stage; each later stage has twice as many, and its first block
            halves height and width.
        blocks: of two convolutions, per stage.
        weight_init, weight_factor, bias_init, bias_factor: see :func:`initialise_`.

    Raises:
        ValueError: the frames are no whole images.

    Example:
        >>> sum(p.numel() for p in ResNet((3, 32, 32), 10).parameters())
        11173962

    Reference: He et al. 2016, section 4.2 and table 1.
    """

    def __init__(
        self,
        image: Image | None,
        outputs: int,
        width: int = 64,
        blocks: Sequence[int] = (2, 2, 2, 2),
        weight_init: str = "kaiming_normal",
        weight_factor: float = 1.0,
        bias_init: str = "default",
        bias_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.image = _checked(image)
        self.stem = ConvNorm(self.image[0], width)
        made, channels = [], width
        for stage, count in enumerate(blocks):
            for block in range(count):
                stride = 2 if stage and not block else 1
                made.append(ResidualBlock(channels, width * 2**stage, stride))
                channels = width * 2**stage
        self.blocks = nn.Sequential(*made)
        self.readout = nn.Linear(channels, outputs)
        initialise_(self, weight_init, weight_factor, bias_init, bias_factor)

    def compute(self, samples: Tensor) -> Tensor:
        """Outputs (n, K) of samples (n, C)."""
        x = self.blocks(torch.relu(self.stem(samples.unflatten(1, self.image))))
        return self.readout(x.mean((2, 3)))


class ResidualBlock(nn.Module):
    """Two convolutions and a way around them, which is a 1 x 1 convolution where shapes differ.

    Args:
        senders, receivers: channels before and after it.
        stride: of the first convolution.
    """

    def __init__(self, senders: int, receivers: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(senders, receivers, 3, stride)
        self.second = ConvNorm(receivers, receivers)
        same = stride == 1 and senders == receivers
        self.shortcut = nn.Identity() if same else ConvNorm(senders, receivers, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, senders, H, W) -> (n, receivers, H / stride, W / stride)."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class ConvNorm(nn.Module):
    """A convolution without biases that keeps the size (but for its stride), and a batch norm."""

    def __init__(self, senders: int, receivers: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(senders, receivers, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(receivers)

    def forward(self, x: Tensor) -> Tensor:
        """(n, senders, H, W) -> (n, receivers, H / stride, W / stride)."""
        return self.norm(self.conv(x))


@torch.no_grad()
def initialise_(
    network: nn.Module, weight_init: str, weight_factor: float, bias_init: str, bias_factor: float
) -> None:
    """Draw the weights and biases of all linear layers and convolutions, in place.

    n is the number of a unit's inputs, m of a sender's outputs. The variances are those of a dense
    network: a sparse start (``sparsify_``) at density r divides the weights by sqrt(r) to keep
    them. The published code has factors of its own in place of 1 / sqrt(r): 7 for the MLP at
    r = 0.01, 1 or 10 for the convolutional network, 5 for ResNet-18 and the autoencoder, which is
    ``weight_factor`` 0.7, 0.1 or 1, and 0.5.

    Args:
        network: its ``nn.Linear`` and ``nn.Conv2d`` are drawn.
        weight_init: ``"kaiming_normal"`` N(0, 2/n), for ReLUs; ``"xavier_normal"`` N(0, 2/(n + m)),
            for sigmoids; ``"default"`` U(+-1/sqrt(n)).
        weight_factor: the weights are multiplied by it.
        bias_init: ``"default"`` U(+-1/sqrt(n)); ``"positive"`` U(0, 1/sqrt(n)), by which no ReLU
            without any weight is silent for all inputs; ``"zeros"``.
        bias_factor: the biases are multiplied by it.

    Raises:
        ValueError: for an unknown kind.

    Reference: Bungert et al. 2021, arXiv 2105.04319, section 4.1, whose variance for sigmoids has
    n m in place of n + m by a misprint; He et al. 2015 and Glorot and Bengio 2010 for dense ones.
    """
    for option, value, valid in (
        ("weight_init", weight_init, WEIGHT_INITS),
        ("bias_init", bias_init, BIAS_INITS),
    ):
        if value not in valid:
            raise ValueError(f"{option}={value!r} is unknown: choose one of {list(valid)}.")
    for module in network.modules():
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue
        fan_in = module.weight[0].numel()
        if weight_init == "kaiming_normal":
            module.weight.normal_(std=math.sqrt(2 / fan_in))
        elif weight_init == "xavier_normal":
            fan_out = module.weight[:, 0].numel()
            module.weight.normal_(std=math.sqrt(2 / (fan_in + fan_out)))
        module.weight.mul_(weight_factor)
        if module.bias is None:
            continue
        if bias_init == "positive":
            module.bias.uniform_(0, 1 / math.sqrt(fan_in))
        elif bias_init == "zeros":
            module.bias.zero_()
        module.bias.mul_(bias_factor)


def _linears(sizes: Sequence[int]) -> nn.ModuleList:
    if min(sizes) < 1:
        raise ValueError(f"expected at least one neuron in every layer, got {list(sizes)}.")
    return nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(sizes))


def _perceptron(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Linear layers with ReLUs between them."""
    *hidden, last = layers
    for layer in hidden:
        x = torch.relu(layer(x))
    return last(x)


def _checked(image: Image | None) -> Image:
    if image is None:
        raise ValueError(
            "the network needs whole images, which dataset=mnist, fashion_mnist and cifar10 give "
            "with dataset.encoder=image, rate, latency or none."
        )
    return image
