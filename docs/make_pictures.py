"""Make every picture of docs/methods from one planted field: `python docs/make_pictures.py`.

A small network learns the amount of marker A (`benchmark.scenes`), so that the evidence is known:
marker A's granules, where marker B has none. All is seeded; one core needs a minute or two. The
pictures lie in docs/images/methods.
"""

from dataclasses import replace
from pathlib import Path

import matplotlib
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor, nn

from attributome import Output, method, predict
from attributome.benchmark.scenes import Field, field
from attributome.benchmark.scoring import in_one
from attributome.benchmark.training import Effort, goal, trained_masks, trained_network
from attributome.core.types import Explainer
from attributome.masks.fit import mask_explainer
from attributome.masks.refine import refine

FOLDER = Path(__file__).parent / "images" / "methods"
SIZE = (64, 64)
TARGET = Output(0)
SEED = 3
ACROSS = 4
BACKGROUND = 8

Asked = dict[str, Explainer]


def background() -> Tensor:
    """Fields that stand for the average image; the network was not trained on them."""
    fields = [field("regression", SIZE, seed=SEED + 1, index=i).image for i in range(BACKGROUND)]
    return torch.stack([torch.from_numpy(image) for image in fields])


def families(model: nn.Module, learned: Explainer) -> dict[str, Asked]:
    """What each picture shows, by its caption."""
    seen = background()

    def refined(net: nn.Module, x: Tensor, target: Output) -> Tensor:
        wanted = predict(net, x)
        best = refine(
            net, x, learned(net, x, target), goal=replace(goal("regression"), pool="sample"),
            agree=lambda out, _: 1 - (out - wanted).abs().flatten(1).mean(1), grain=4,
        )  # fmt: skip
        return best.maps

    return {
        "gradients": {
            "saliency": method("saliency"),
            "input_x_gradient": method("input_x_gradient"),
            "smooth_grad": method("smooth_grad"),
            "guided_backprop": method("guided_backprop"),
            "integrated_gradients": method("integrated_gradients"),
            "expected_gradients": method("expected_gradients", background=seen),
        },
        "references": {
            "deep_lift, baseline 0": method("deep_lift"),
            "deep_lift, mean field": method("deep_lift", baseline=seen.mean(0, keepdim=True)),
            "deep_lift, constant": method("deep_lift", baseline=seen.mean((0, 2, 3), keepdim=True)),
            "deep_shap": method("deep_shap", background=seen),
            "integrated_gradients": method("integrated_gradients"),
            "input_x_gradient": method("input_x_gradient"),
        },
        "relevance": {
            "lrp, epsilon_gamma": method("lrp"),
            "lrp, epsilon": method("lrp", rule="epsilon"),
            "lrp, gamma": method("lrp", rule="gamma"),
            "lrp, epsilon 0.25": method("lrp", rule="epsilon", epsilon=0.25),
            "input_x_gradient": method("input_x_gradient"),
            "deep_lift": method("deep_lift"),
        },
        "cam": {
            "grad_cam, grid 32": method("grad_cam", layer="relu2"),
            "grad_cam, grid 16": method("grad_cam", layer="relu3"),
            "grad_cam, grid 8": method("grad_cam", layer="relu4"),
            "hires_cam, grid 16": method("hires_cam", layer="relu3"),
            "score_cam, grid 16": method("score_cam", layer="relu3"),
            "eigen_cam, grid 16": method("eigen_cam", layer="relu3"),
        },
        "perturbation": {
            "occlusion, window 4": method("occlusion", window=4),
            "occlusion, window 8": method("occlusion"),
            "occlusion, 8, stride 2": method("occlusion", stride=2),
            "feature_ablation": method("feature_ablation"),
            "rise, cells 7": method("rise"),
            "rise, cells 16": method("rise", cells=16),
        },
        "shapley": {
            "kernel_shap, 130": method("kernel_shap", evaluations=130),
            "kernel_shap, 512": method("kernel_shap"),
            "kernel_shap, 4096": method("kernel_shap", evaluations=4096),
            "owen, depth 4": method("owen"),
            "owen, depth 6": method("owen", depth=6),
            "feature_ablation": method("feature_ablation"),
        },
        "optimised": {
            "extremal_perturbation": method("extremal_perturbation", cells=16),
            "extremal, area 0.1": method("extremal_perturbation", cells=16, areas=(0.1,)),
            "bottleneck": method("information_bottleneck", layer="relu2"),
            "bottleneck, background": method(
                "information_bottleneck", layer="relu2", background=seen
            ),
            "learned_mask": learned,
            "learned_mask, refined": refined,
        },
        "controls": {
            name: method(name)
            for name in ("random", "blurred_noise", "centre", "intensity", "edges")
        }
        | {"local_variance": method("local_variance")},
    }


def panel(axes: Axes, image: Tensor, title: str, below: str, **how: object) -> None:
    """One square of a picture."""
    axes.imshow(image, interpolation="nearest", **how)
    axes.set_title(title, fontsize=7.5, pad=3)
    axes.set_xlabel(below, fontsize=7, labelpad=2)
    axes.set_xticks([])
    axes.set_yticks([])


def picture(name: str, asked: Asked, model: nn.Module, drawn: Field) -> Path:
    """Both markers, then the maps of a family, all with the evidence outlined."""
    x = torch.from_numpy(drawn.image)[None]
    truth = drawn.where["evidence"]
    rows = -(-(len(asked) + 2) // ACROSS)
    figure, grid = plt.subplots(
        rows, ACROSS, figsize=(ACROSS * 1.75, rows * 2.05), dpi=110, layout="constrained"
    )
    places = iter(grid.flatten())
    for channel, title in enumerate(("marker A, evidence outlined", "marker B")):
        panel(next(places), x[0, channel], title, "0 to 1.5", cmap="gray", vmin=0, vmax=1.5)
    for title, explainer in asked.items():
        one = in_one(title.split(",")[0], explainer(model, x, TARGET))[0, 0]
        width = float(one.abs().flatten().quantile(0.998))
        panel(next(places), one, title, f"±{width:.2g}", cmap="RdBu_r", vmin=-width, vmax=width)
    for axes in grid.flatten()[: len(asked) + 2]:
        axes.contour(truth, levels=[0.5], colors="#111111", linewidths=0.5)
    for axes in grid.flatten()[len(asked) + 2 :]:
        axes.axis("off")
    grid.flatten()[0].contour(truth, levels=[0.5], colors="#ffd000", linewidths=0.9)
    path = FOLDER / f"{name}.png"
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
    return path


def main() -> None:
    """Train, explain, draw."""
    matplotlib.use("agg")
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = trained_network(
        "regression", SIZE, effort=Effort(fields=160, epochs=8, steps=40), seed=SEED
    )
    generator = trained_masks(
        model, TARGET, "regression", SIZE,
        effort=Effort(fields=96, epochs=5, steps=25), seed=SEED, mark="pictures",
    )  # fmt: skip
    drawn = field("regression", SIZE, seed=SEED + 2, index=0)
    for name, asked in families(model, mask_explainer(generator)).items():
        path = picture(name, asked, model, drawn)
        print(path.name, f"{path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
