"""Five methods on one predictor: whether they add up, and whether they agree."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file
from torch import nn

from attributome import Output, load_predictor, method
from attributome.benchmark.networks import planted_network
from attributome.benchmark.scenes import field
from attributome.metrics.agreement import agreement_matrix
from attributome.metrics.fidelity import completeness

NAMES = ("integrated_gradients", "deep_lift", "owen", "occlusion", "edges")


def granules() -> nn.Module:  # reads what only marker A shows; stands in for your network
    return planted_network("regression", 2)


def main(folder: Path) -> None:
    path = folder / "granules.safetensors"
    save_file(granules().state_dict(), path)
    # the factory is code, here this very file, so only from people you trust
    net, _ = load_predictor(path, factory="methods_side_by_side:granules", trust=True)

    image = torch.from_numpy(field("regression", (64, 64), seed=0, index=0).image)[None]
    target = Output(0)
    maps = {name: method(name)(net, image, target) for name in NAMES}
    for name, each in maps.items():
        error = completeness(each, net, image, target).item()
        print(f"{name}: misses F(x) - F(0) by {100 * error:.2f} %")
    found = agreement_matrix(maps)
    for name, row in zip(found.names, found.values[0], strict=True):
        print(f"{name}: agrees " + " ".join(f"{value:+.2f}" for value in row.tolist()))


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        main(Path(folder))
