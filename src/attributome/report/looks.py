"""How each method is named and drawn: the same name, colour, dash and marker on the whole page.

Hues are names of CSS variables (Okabe-Ito colours, lighter ones in the dark); no method is told
from another by its colour alone: among methods and controls no two share dash and marker, and no
two share colour and marker.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The name and the drawing style of a method or a curve."""

    label: str
    hue: str
    marker: str = "circle"
    dash: str = ""
    about: str = ""


MARKERS = ("circle", "square", "diamond", "up", "down", "plus", "cross", "ring")


def _family(
    hue: str, dash: str, taken: str, members: Mapping[str, tuple[str, str]]
) -> dict[str, Look]:
    """Methods of one kind: the family shares hue and dash, each member has its own marker.

    `taken` is the marker that a control of this hue has.
    """
    free = [marker for marker in MARKERS if marker != taken]
    return {
        key: Look(label=label, hue=hue, marker=marker, dash=dash, about=about)
        for marker, (key, (label, about)) in zip(free, members.items(), strict=False)
    }


GRADIENT = _family(
    "vermillion",
    "12 2 2 2",
    "up",
    {
        "integrated_gradients": (
            "integrated gradients",
            "gradients summed on the way from a baseline to the image; adds up to the change",
        ),
        "input_x_gradient": ("input × gradient", "each pixel times the slope of the output there"),
        "saliency": ("saliency", "how steeply the output changes with each pixel"),
        "smooth_grad": ("SmoothGrad", "gradients averaged over noisy copies of the image"),
        "var_grad": ("VarGrad", "how much gradients vary over noisy copies of the image"),
        "guided_backprop": ("guided backpropagation", "gradients that keep only positive parts"),
        "lrp": ("LRP", "the output handed back from layer to layer, none of it lost on the way"),
    },
)
REFERENCE = _family(
    "orange",
    "8 2",
    "square",
    {
        "expected_gradients": (
            "expected gradients",
            "integrated gradients, averaged over images of the training fields",
        ),
        "deep_lift": ("DeepLIFT", "what each layer adds over a reference image, handed back"),
        "deep_shap": ("DeepSHAP", "DeepLIFT, averaged over images of the training fields"),
    },
)
ACTIVATION = _family(
    "green",
    "5 2",
    "plus",
    {
        "grad_cam": ("Grad-CAM", "channels of one layer, weighted by their mean gradient"),
        "grad_cam_plus_plus": ("Grad-CAM++", "Grad-CAM with a weight for every place"),
        "hires_cam": ("HiResCAM", "one layer times its gradient, place by place"),
        "layer_cam": ("LayerCAM", "one layer times the positive part of its gradient"),
        "xgrad_cam": ("XGrad-CAM", "Grad-CAM, its weights scaled by the activation"),
        "score_cam": ("Score-CAM", "channels of one layer, weighted by what each alone keeps"),
        "ablation_cam": ("Ablation-CAM", "channels of one layer, weighted by what each takes away"),
    },
)
FORWARD = _family(
    "purple",
    "2 2",
    "down",
    {
        "occlusion": ("occlusion", "how far the output falls when a window is covered"),
        "feature_ablation": ("feature ablation", "how far the output falls without a region"),
        "rise": ("RISE", "the mean of random masks, weighted by what each keeps"),
        "kernel_shap": ("KernelSHAP", "each region's fair share of the output, by regression"),
        "owen": ("Owen values", "each region's fair share of the output, in nested groups"),
        "extremal_perturbation": (
            "extremal perturbation",
            "a mask of fixed area, fitted to each image by itself",
        ),
        "information_bottleneck": (
            "information bottleneck",
            "how much of one layer can be hidden in noise, fitted to each image by itself",
        ),
    },
)
METHODS = (
    {
        "learned_mask": Look(
            label="learned mask", hue="blue", about="the binary signature that this page is about"
        )
    }
    | GRADIENT
    | REFERENCE
    | ACTIVATION
    | {
        "eigen_cam": Look(
            label="Eigen-CAM",
            hue="ink",
            marker="square",
            dash="5 2 2 2",
            about="the strongest pattern of one layer; asks for no target",
        )
    }
    | FORWARD
)
CONTROLS = {
    "intensity": Look(
        label="brightest contrast",
        hue="vermillion",
        marker="up",
        dash="9 3",
        about="the pixels that differ most from the field's mean; needs no learning",
    ),
    "edges": Look(
        label="edges",
        hue="green",
        marker="plus",
        dash="9 3 2 3",
        about="the pixels with the steepest contrast; needs no learning",
    ),
    "local_variance": Look(
        label="local variance",
        hue="amber",
        marker="circle",
        dash="9 3 2 3",
        about="the pixels with the liveliest surroundings; needs no learning",
    ),
    "prediction": Look(
        label="the prediction itself",
        hue="sky",
        marker="down",
        dash="12 3 2 3",
        about="the pixels where the output is brightest; asks nothing about the input",
    ),
    "centre": Look(
        label="centre of the field",
        hue="amber",
        marker="ring",
        dash="6 4",
        about="the pixels nearest the middle: no relation to the image",
    ),
    "translated": Look(
        label="same mask, moved",
        hue="orange",
        marker="square",
        dash="6 4",
        about="the signature shifted to another place: same shapes, wrong position",
    ),
    "flipped": Look(
        label="same mask, flipped",
        hue="sky",
        marker="diamond",
        dash="6 3 2 3",
        about="the signature mirrored: same shapes, wrong position",
    ),
    "blurred_noise": Look(
        label="random blobs",
        hue="purple",
        marker="down",
        dash="3 3",
        about="smooth random blobs: no relation to the image",
    ),
    "random": Look(
        label="random pixels",
        hue="ink",
        marker="cross",
        dash="1.5 3",
        about="pixels drawn at random: no relation to the image",
    ),
}
OTHERS = {
    "learned_mask_soft": Look(
        label="learned mask, soft",
        hue="sky",
        marker="square",
        dash="6 4",
        about="the map before it is cut into kept and replaced",
    ),
    "uniform_soft": Look(
        label="uniform grey mask, soft",
        hue="amber",
        marker="diamond",
        dash="3 3",
        about="the signature's size as a value everywhere: it selects nothing at all",
    ),
    "uniform_as_soft": Look(
        label="uniform grey mask, as soft",
        hue="purple",
        marker="down",
        dash="6 3 2 3",
        about="the mean of the soft map everywhere: it selects nothing at all",
    ),
    "loss": Look(label="training loss", hue="blue"),
    "val_loss": Look(label="validation loss", hue="vermillion", marker="square", dash="6 4"),
    "val_mse": Look(label="held-out error", hue="blue"),
    "val_pcc": Look(label="validation PCC", hue="green", marker="up"),
    "val_size": Look(label="validation mask size", hue="purple", marker="diamond", dash="6 3 2 3"),
    "precision": Look(label="precision", hue="sky", marker="diamond"),
    "recall": Look(label="recall", hue="blue"),
    "region_importance": Look(label="true region", hue="green", marker="up"),
    "feature_camo": Look(label="Grad-CAMO of a feature", hue="blue"),
    "decoy_importance": Look(label="decoy", hue="vermillion", marker="square"),
}
LOOKS = METHODS | CONTROLS | OTHERS


def look(key: str) -> Look:
    """The look of a method; one that this page has not met is drawn in ink under its own name."""
    return LOOKS.get(key) or Look(label=key.replace("_", " "), hue="ink", marker="ring", dash="4 2")


def the(key: str) -> str:
    """The name of a method within a sentence."""
    return f"the {look(key).label}" if key == "learned_mask" else look(key).label


def in_order(keys: list[str]) -> list[str]:
    """Methods in the order of the tables above, others after them by name."""
    known = list(LOOKS)
    return sorted(set(keys), key=lambda key: (known.index(key) if key in LOOKS else 999, key))
