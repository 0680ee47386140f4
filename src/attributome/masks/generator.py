"""The network that draws masks: pixels and a condition in, one importance map out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from attributome.core.errors import DataError
from attributome.core.files import read_json, write_json, write_whole
from attributome.core.types import Masks
from attributome.masks.condition import Seen

KNOTS = 257
MULTIPLE = 16
POOLS = {2: (F.avg_pool2d, "bilinear"), 3: (F.avg_pool3d, "trilinear")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What a generator is made of, and for which predictor; enough to make it again.

    `grain` is the smallest detail of a mask in pixels. A mask that may choose every pixel learns
    to paint what the predictor wants to see with the pixels that it leaves; a coarse one must show
    it the evidence.
    """

    channels: int
    dims: int
    condition: str
    predictor: str
    features: tuple[int, ...] = (8, 16, 32, 64, 64, 8)
    grain: int = 1


class Generator(nn.Module):
    """A U-Net whose logits become importance in [0, 1].

    Importance is the rank of a pixel among the pixels of the fields that `settle` has seen: above
    0.9 lies the top tenth. So one threshold means the same on every field.
    """

    knots: Tensor

    def __init__(self, design: Design) -> None:
        super().__init__()
        from monai.networks.nets import BasicUNet  # ten seconds that only a user of it should pay

        self.design = design
        self.net: nn.Module = BasicUNet(
            spatial_dims=design.dims,
            in_channels=design.channels,
            out_channels=1,
            features=design.features,
            norm=("batch", {"eps": 1e-5}),
        )
        self.register_buffer("knots", torch.linspace(-1, 1, KNOTS))

    def logits(self, seen: Seen) -> Masks:
        """Unbounded scores; any size, padded inside to what the U-Net takes."""
        extra = [-size % MULTIPLE for size in seen.shape[2:]]
        pads = [side for e in reversed(extra) for side in (e // 2, e - e // 2)]
        scores: Tensor = self.net(F.pad(seen, pads, mode="replicate") if any(pads) else seen)
        if self.design.grain > 1:
            pool, mode = POOLS[self.design.dims]
            coarse = pool(scores, self.design.grain)
            scores = F.interpolate(coarse, scores.shape[2:], mode=mode, align_corners=False)
        for axis, (e, size) in enumerate(zip(extra, seen.shape[2:], strict=True)):
            scores = scores.narrow(axis + 2, e // 2, size)
        return scores.float()

    def forward(self, seen: Seen) -> Masks:
        """Importance in [0, 1]."""
        scores = self.logits(seen).contiguous()
        right = torch.searchsorted(self.knots, scores).clamp(1, KNOTS - 1)
        low, high = self.knots[right - 1], self.knots[right]
        part = ((scores - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
        return (right - 1 + part) / (KNOTS - 1)

    def settle(self, logits: Float[Tensor, " n"]) -> None:
        """Rank against these logits from now on."""
        order = logits.double().sort().values
        place = torch.linspace(0, len(order) - 1, KNOTS, dtype=torch.double).round().long()
        self.knots.copy_(order[place])


def save_generator(folder: Path, generator: Generator, note: Mapping[str, Any]) -> None:
    """Write `generator.safetensors` and `generator.json`."""
    weights = {name: value.contiguous() for name, value in generator.state_dict().items()}
    write_whole(folder / "generator.safetensors", lambda part: save_file(weights, part))
    write_json(folder / "generator.json", {**note, "design": asdict(generator.design)})


def load_generator(folder: Path, *, predictor: str | None = None) -> Generator:
    """Read a generator back; `predictor` is the fingerprint that it must have been trained for."""
    told = read_json(folder / "generator.json")["design"]
    design = Design(**{**told, "features": tuple(told["features"])})
    if predictor is not None and design.predictor != predictor:
        raise DataError(
            f"the mask generator in {folder} was trained for another predictor "
            f"({design.predictor[:12]}… and not {predictor[:12]}…): train masks for this one"
        )
    generator = Generator(design)
    try:
        generator.load_state_dict(load_file(folder / "generator.safetensors"))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise DataError(f"cannot read the mask generator in {folder}: {error}") from error
    return generator.eval()


def generator_for(design: Design, *, seed: int) -> Generator:
    """A fresh generator whose first weights come from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Generator(design)
