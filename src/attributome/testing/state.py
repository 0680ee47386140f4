"""Everything that a method might change and must not, in words, ready to compare."""

import pickle
import random
import sys
import warnings
from collections.abc import Mapping
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

SIMPLE = (bool, int, float, str, tuple, type(None))


def state_of(model: nn.Module, *inputs: Tensor) -> dict[str, object]:
    """The state of a model, of what it is given and of the process, by the words that tell it."""
    found: dict[str, object] = {}
    names = list(model.named_modules())
    found["the list of layers"] = [(name, id(module)) for name, module in names]
    for name, module in names:
        where = f"layer {name!r}" if name else "the model"
        for key, value in vars(module).items():
            if "hooks" in key and isinstance(value, Mapping):
                found[f"the set of hooks of {where} ({key})"] = list(map(id, value.values()))
            elif isinstance(value, SIMPLE):  # the mode, in-place flags, probabilities
                found[f"`{key}` of {where}"] = value
        found[f"the set of attributes of {where}"] = sorted(vars(module))
        found[f"the class of {where}"] = list(map(id, vars(type(module)).values()))
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        found |= _tensor(name, tensor)
    for index, tensor in enumerate(inputs):
        found |= _tensor(f"input {index}", tensor)
    found["the set of keys of the state_dict"] = list(model.state_dict())
    return found | _process()


def changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """The words of all that is not what it was."""
    return [key for key in before | after if before.get(key) != after.get(key)]


def _tensor(name: str, tensor: Tensor) -> dict[str, object]:
    grad = tensor.grad if tensor.is_leaf else None
    return {
        f"the tensor {name}": id(tensor),
        f"the content of {name}": tensor.detach().cpu().numpy().tobytes(),
        f"requires_grad of {name}": tensor.requires_grad,
        f"the gradient of {name}": None if grad is None else grad.cpu().numpy().tobytes(),
        f"the set of hooks of {name}": list(map(id, (tensor._backward_hooks or {}).values())),
    }


def _process() -> dict[str, object]:
    cudnn = torch.backends.cudnn
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002 (it is the legacy state we watch)
    hooks = vars(torch.nn.modules.module)
    return {
        "the set of hooks of all modules": [
            (key, list(map(id, value.values())))
            for key, value in hooks.items()
            if key.startswith("_global") and isinstance(value, Mapping)
        ],
        "the global random state of torch": torch.get_rng_state().numpy().tobytes(),
        "the global random state of NumPy": pickle.dumps(numpy),
        # beartype, where it checks calls while they run, draws from this one itself
        "the global random state of Python": "beartype" in sys.modules or random.getstate(),
        "a flag of cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        "whether torch is deterministic": torch.are_deterministic_algorithms_enabled(),
        "the default dtype": torch.get_default_dtype(),
        "the default device": torch.get_default_device(),
        "the number of threads": torch.get_num_threads(),
        "whether gradients are on": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "whether autocast is on": torch.is_autocast_enabled("cpu"),
        "whether anomalies are looked for": torch.is_anomaly_enabled(),
        "the precision of products": torch.get_float32_matmul_precision(),
        "the list of warning filters": len(warnings.filters),
        "a function of torch": [
            list(map(id, vars(home).values())) for home in (torch.nn.functional, Tensor)
        ],
    }
