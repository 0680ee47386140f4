"""Stand-ins for what pytorch-grad-cam imports from torchvision and this benchmark never calls."""

import importlib.util
import sys
from types import ModuleType

NAMES = {
    "torchvision": (),
    "torchvision.ops": ("box_iou",),
    "torchvision.transforms": ("Compose", "Normalize", "ToTensor"),
    "torchvision.transforms.functional": ("resize",),
}


def stand_in_for_torchvision() -> str:
    """Put modules with exactly the names that pytorch-grad-cam imports in torchvision's place.

    The torchvision wheel must be built for the very torch that runs, or its import fails, and
    Grad-CAM needs none of it: the names prepare pictures, compare boxes and resize in SESS.
    Whoever calls one gets an error. Returns the sentence that the results carry.
    """
    for path, names in NAMES.items():
        module = ModuleType(path)
        # some packages ask for the spec of what they find in sys.modules
        module.__spec__ = importlib.util.spec_from_loader(path, loader=None)
        for name in names:
            setattr(module, name, _refusing(f"{path}.{name}"))
        sys.modules[path] = module
        parent, _, child = path.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    listed = ", ".join(f"{path}.{name}" for path, names in NAMES.items() for name in names)
    return (
        f"torchvision is a stand-in with the names that pytorch-grad-cam imports ({listed}); none "
        f"is called in what is measured, and calling one raises"
    )


def _refusing(name: str) -> type:
    def refuse(self: object, *_args: object, **_options: object) -> None:
        raise RuntimeError(f"{name} is a stand-in of the benchmark, not torchvision")

    return type(name.rpartition(".")[2], (), {"__init__": refuse})
