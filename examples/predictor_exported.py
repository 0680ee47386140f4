"""A `.pt2` program of one fixed size on a larger field: overlapping windows, and said so."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import nn

from attributome import OutputSum, load_predictor, method, predict
from attributome.core.arrays import mix, pearson, top_share
from attributome.core.fills import fill_for
from attributome.predictors.inspect import inspect_predictor
from attributome.predictors.sizes import fitted


class Spots(nn.Module):  # what is brighter than its surroundings; stands in for your network
    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(1, 1, 5, padding=2, bias=False)
        nn.init.constant_(self.smooth.weight, 1 / 25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        smooth = self.smooth(x)
        around = F.interpolate(F.avg_pool2d(smooth, 8), scale_factor=8.0)
        return torch.relu(smooth - around - 0.5)


def field() -> torch.Tensor:
    """A z-scored field of 150 x 210 pixels with about thirty bright nuclei."""
    draw = torch.Generator().manual_seed(0)
    nuclei = (torch.rand(1, 1, 150, 210, generator=draw) > 0.999).float()
    image = F.avg_pool2d(nuclei, 9, 1, 4) + 0.002 * torch.randn(nuclei.shape, generator=draw)
    return (image - image.mean()) / image.std()


def main(folder: Path) -> None:
    path = folder / "spots.pt2"
    program = torch.export.export(Spots().eval(), (torch.zeros(1, 1, 64, 64),))
    torch.export.save(program, path)

    net, _ = load_predictor(path, trust=True)  # a program: only from people you trust
    found = inspect_predictor(net)
    print(f"takes {found.channels} channel, {found.dims}-D, sizes {found.sizes}")
    print(f"grad_cam: {found.possible['layer'] or 'possible'}")
    model, image = fitted(net, found.sizes), field()
    print(model.note(image.shape[2:]))
    noise = fill_for(image, ["field"], "gaussian", scale=1.0, seed=0)
    for name in ("saliency", "random"):
        scores = method(name)(model, image, OutputSum())
        kept = mix(image, top_share(scores, 0.15), noise)
        efficacy = pearson(predict(model, image), predict(model, kept)).item()
        print(f"keeping 15 % by {name}: efficacy {efficacy:.2f}")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        main(Path(folder))
