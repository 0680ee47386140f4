"""Class activation maps: attributome beside pytorch-grad-cam."""

import copy
from collections.abc import Iterable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from peers_subject import images, resnet, seeded
from peers_turns import (
    LARGEST,
    PCC,
    Row,
    Scale,
    Version,
    correlation,
    difference,
    in_turns,
    row,
    settings,
    times,
)
from torch import Tensor, nn

from attributome.core.arrays import resize
from attributome.core.probe import layer_gradient
from attributome.core.targets import Logit
from attributome.explain.cam import grad_cam
from attributome.explain.cam_features import feature_cams
from attributome.predictors.networks import small_cnn

PEER = "pytorch-grad-cam"
CLASS = 1


def grad_cam_2d(scale: Scale) -> Row:
    """ResNet-18 on eight RGB images, the last stage."""
    net, x = _flat(scale)
    turns = in_turns(_versions(net, x, "layer4"), scale)
    return row(
        "grad_cam_2d",
        turns,
        peer=PEER,
        bound=2.0,
        agreement=difference(unit(turns.gave["ours"])[:, 0], turns.gave["peer"]),
        meaning=LARGEST,
        note=f"MONAI resnet18, {times(x)}, layer4, one class; floor: one forward without a graph",
    )


def grad_cam_3d(scale: Scale) -> Row:
    """ResNet-10 on two volumes, the third stage: the last leaves too few voxels for a map."""
    net, x = _volume(scale)
    turns = in_turns(_versions(net, x, "layer3"), scale)
    act, grad = layer_gradient(net, "layer3", x, Logit(CLASS))
    coarse = (grad.mean((2, 3, 4), keepdim=True) * act).sum(1)
    return row(
        "grad_cam_3d",
        turns,
        peer=PEER,
        bound=2.0,
        agreement=correlation(turns.gave["ours"][:, 0], turns.gave["peer"]),
        meaning=PCC,
        note=f"MONAI resnet10, {times(x)}, layer3, one class; the maps differ because the peer "
        "enlarges by corner-aligned cubic splines, ours by half-pixel linear interpolation; floor: "
        "one forward without a graph",
        difference_when_enlarged_alike=difference(_peers_size(coarse, x), turns.gave["peer"]),
    )


def grad_cam_saved_bytes(scale: Scale) -> Row:
    """What autograd keeps for the backward pass: the same on every device."""
    found, differs = {}, []
    for name, (net, x), layer in (
        ("2-D", _flat(scale), "layer4"),
        ("3-D", _volume(scale), "layer3"),
    ):
        versions = _versions(net, x, layer)
        ours, ours_bytes = saved_bytes(versions["ours"], [x, *net.parameters(), *net.buffers()])
        twin = versions["peer"].args[0]
        peer, peer_bytes = saved_bytes(versions["peer"], [x, *twin.parameters(), *twin.buffers()])
        found[name] = {"ours_bytes": ours_bytes, "peer_bytes": peer_bytes}
        differs.append(1 - correlation(ours[:, 0], peer))
    share = max(one["ours_bytes"] / one["peer_bytes"] for one in found.values())
    ratio = min(one["peer_bytes"] / max(1, one["ours_bytes"]) for one in found.values())
    return {
        "work": "grad_cam_saved_bytes",
        "peer": PEER,
        "ratio": round(ratio, 1),
        "agreement": 1 - max(differs),
        "n": 1,
        "ours_s": None,
        "peer_s": None,
        "floor_s": None,
        "bound": 100.0,
        "holds": share <= 0.01,
        "note": "a count, no time: bytes of distinct storages that autograd saves, without image, "
        "weights and buffers, which are held anyway; the worse of the networks of grad_cam_2d and "
        "grad_cam_3d; 0 bytes count as 1 in the ratio",
        "agreement_is": PCC,
        "share": share,
        "counts": found,
    }


def upsample_3d(scale: Scale) -> Row:
    """Enlarging the map of a volume: `scale_cam_image` (scipy's zoom) beside `resize`."""
    from pytorch_grad_cam.utils.image import scale_cam_image
    from scipy.ndimage import zoom

    side = scale.size(64, 32)
    coarse = images(2, 1, side // 16, side // 8, side // 8).relu()
    x = torch.empty(2, 1, side // 2, side, side)
    maps, size = coarse[:, 0].numpy(), (side, side, side // 2)

    def alike() -> np.ndarray:
        """Scipy's zoom with the options that make it ours, which the peer does not set."""
        scaled = unit(coarse)[:, 0].numpy()
        return np.stack([zoom(one, 8, order=1, grid_mode=True, mode="nearest") for one in scaled])

    turns = in_turns(
        {
            "ours": lambda: resize(unit(coarse), x),
            "peer": lambda: scale_cam_image(maps, size),
            "alike": alike,
        },
        scale,
    )
    return row(
        "upsample_3d",
        turns,
        peer=f"{PEER} (scipy zoom)",
        bound=30.0,
        agreement=correlation(turns.gave["ours"][:, 0], turns.gave["peer"]),
        meaning=PCC,
        note=f"two maps of {times(coarse[0, 0])} to {times(x[0, 0])}, both scaled to 0–1 before; "
        "the peer's are cubic splines with aligned corners, so the maps differ",
        difference_when_enlarged_alike=difference(turns.gave["ours"][:, 0], turns.gave["alike"]),
        ratio_when_enlarged_alike=round(median(turns.ratios("alike")), 3),
    )


def feature_cam_256(scale: Scale) -> Row:
    """A map for each of 256 features of an image, of the last layer before the head."""
    side = scale.size(64, 32)
    net, x = seeded(small_cnn, 1, 256, 2), images(1, 1, side, side)
    with torch.no_grad():
        net.head.weight.abs_()
    turns = in_turns(_every_feature(net, x, "relu4", 256), scale)
    stages = resnet(10, 2, 1, 256)
    below = in_turns(_every_feature(stages, x, "layer3", 32), scale.short())
    return row(
        "feature_cam_256",
        turns,
        peer=f"{PEER}, one feature after the other",
        bound=20.0,
        agreement=difference(unit(turns.gave["ours"][0]), turns.gave["peer"]),
        meaning=LARGEST,
        note=f"attributome cnn with 256 outputs, {times(x)}, its last layer; floor: one forward "
        "without a graph",
        ratios_below_a_whole_stage=settings(below, ["peer"]),
        below_a_whole_stage="32 features of MONAI resnet10, layer3: all of layer4 lies between the "
        "layer and the features, and is differentiated for each of them by both",
    )


def unit(maps: Tensor) -> Tensor:
    """Each map scaled to 0–1, as pytorch-grad-cam gives it."""
    flat = maps.flatten(1)
    low, high = flat.amin(1), flat.amax(1)
    shape = (-1, *[1] * (maps.ndim - 1))
    return (maps - low.view(shape)) / (high - low + 1e-7).view(shape)


def saved_bytes(work: Version, held: Iterable[Tensor]) -> tuple[Any, int]:
    """What the work gives, and the bytes that autograd saved for it beyond what is held."""
    known = {tensor.untyped_storage().data_ptr() for tensor in held}
    kept: dict[int, torch.UntypedStorage] = {}  # holding them keeps their addresses unique

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        gave = work()
    return gave, sum(storage.nbytes() for storage in kept.values())


def _flat(scale: Scale) -> tuple[nn.Module, Tensor]:
    side = scale.size(128, 64)
    return resnet(18, 2, 3, 5), images(scale.size(8, 2), 3, side, side)


def _volume(scale: Scale) -> tuple[nn.Module, Tensor]:
    side = scale.size(64, 32)
    return resnet(10, 3, 1, 5), images(2, 1, side // 2, side, side)


def _versions(net: nn.Module, x: Tensor, layer: str) -> dict[str, partial]:
    """Ours; the peer's on a copy of the network, which it fills with gradients; the floor."""
    return {
        "ours": partial(grad_cam, net, x, Logit(CLASS), layer=layer),
        "peer": partial(_peers, copy.deepcopy(net), x, layer),
        "floor": partial(_forward, net, x),
    }


def _every_feature(net: nn.Module, x: Tensor, layer: str, count: int) -> dict[str, Version]:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    twin = copy.deepcopy(net)

    def one_by_one() -> np.ndarray:
        with GradCAM(model=twin, target_layers=[twin.get_submodule(layer)]) as cam:
            return np.concatenate([cam(x, [ClassifierOutputTarget(k)]) for k in range(count)])

    return {
        "ours": lambda: feature_cams(net, x, layer=layer, features=range(count)),
        "peer": one_by_one,
        "floor": partial(_forward, net, x),
    }


def _peers(net: nn.Module, x: Tensor, layer: str) -> np.ndarray:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model=net, target_layers=[net.get_submodule(layer)]) as cam:
        return cam(input_tensor=x, targets=[ClassifierOutputTarget(CLASS)] * len(x))


def _forward(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x)


def _peers_size(coarse: Tensor, x: Tensor) -> np.ndarray:
    """Our map as pytorch-grad-cam finishes its own: enlarged, cut at 0 and scaled again."""
    from pytorch_grad_cam.utils.image import scale_cam_image

    large = scale_cam_image(coarse.numpy(), tuple(reversed(x.shape[2:])))
    return scale_cam_image(np.maximum(large, 0))


WORKS = (grad_cam_2d, grad_cam_3d, grad_cam_saved_bytes, upsample_3d, feature_cam_256)
