"""Other rules for the backward pass of somebody else's network, without touching the network.

A `Rules` context sees every torch function that runs in it, and here a module, a functional call,
a method, an operator, an in-place call and a reused module all look the same. A rule answers one
call with an output of the same value and a graph of its own; linear calls keep the graph they have.
A call whose result depends on the input and for which there is no rule is refused by name.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attributome.core.errors import UsageError
from attributome.core.inputs import network
from attributome.core.types import Predictor

ALIASES = {
    "iadd": "add", "radd": "add", "isub": "sub", "subtract": "sub", "imul": "mul", "rmul": "mul",
    "multiply": "mul", "itruediv": "div", "truediv": "div", "true_divide": "div", "divide": "div",
    "idiv": "div", "rtruediv": "rdiv", "ipow": "pow", "clip": "clamp", "negative": "neg",
    "mm": "matmul", "bmm": "matmul", "mv": "matmul", "dot": "matmul", "absolute": "abs",
    "max_pool1d_with_indices": "max_pool1d", "max_pool2d_with_indices": "max_pool2d",
    "max_pool3d_with_indices": "max_pool3d", "log_sigmoid": "logsigmoid",
    "linalg_norm": "norm", "linalg_vector_norm": "norm", "linalg_vecdot": "vecdot",
}  # fmt: skip

_LINEAR = """
add sub rsub neg positive cat concat concatenate stack hstack vstack dstack sum mean cumsum diff
reshape view view_as reshape_as flatten unflatten ravel permute transpose swapaxes swapdims
movedim moveaxis T mT H mH t squeeze unsqueeze expand expand_as broadcast_to broadcast_tensors
repeat repeat_interleave tile contiguous clone to type type_as float double cpu cuda real
requires_grad getitem setitem select narrow index_select gather take_along_dim index_add
index_copy scatter scatter_add masked_select chunk split tensor_split split_with_sizes unbind
roll flip fliplr flipud rot90 tril triu diagonal pad constant_pad_nd copy fill zero as_strided
conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear
avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
interpolate upsample upsample_nearest upsample_bilinear grid_sample pixel_shuffle
pixel_unshuffle channel_shuffle native_channel_shuffle fold unfold embedding batch_norm
dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout
"""
LINEAR = frozenset(_LINEAR.split())
"""Linear in the activations, up to a constant, while their weights are constant and in eval."""

_ACTIVATIONS = """
relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish softplus softsign hardswish
hardsigmoid hardtanh hardshrink softshrink tanhshrink threshold logsigmoid sigmoid tanh
"""
ACTIVATIONS = frozenset(_ACTIVATIONS.split())
"""The functions of one number that networks put between their layers."""

WEIGHTED = frozenset(
    ["linear", *(f"{kind}{d}d" for kind in ("conv", "conv_transpose") for d in (1, 2, 3))]
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a torch function; `inplace` where it would overwrite its first argument."""

    name: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inplace: bool

    def get(self, position: int, key: str, default: object = None) -> Any:
        """An argument, given by position or by name."""
        if len(self.args) > position:
            return self.args[position]
        return self.kwargs.get(key, default)

    def tensor(self, position: int = 0, key: str = "input") -> Tensor:
        """An argument that must be a tensor."""
        found = self.get(position, key)
        if not isinstance(found, Tensor):
            raise UsageError(f"{self.name} was called without its tensor {key!r}")
        return found

    def on(self, first: Tensor) -> Tensor:
        """What the function gives for another first argument, which is not overwritten."""
        first = first.clone() if self.inplace else first
        kwargs = {k: v for k, v in self.kwargs.items() if k not in ("input", "self")}
        out: Tensor = self.func(first, *self.args[1:], **kwargs)
        return out

    def value(self) -> Tensor:
        """What the function gives here, without a graph."""
        with torch.no_grad():
            return self.on(self.tensor())


Rule = Callable[[Call], object]


class Rules(TorchFunctionMode):
    """Answers calls by name; see the module. `purpose` is who refuses, `instead` what it offers.

    With `purpose` None every call without a rule runs as it is.
    """

    def __init__(
        self,
        model: Predictor,
        rules: Mapping[str, Rule],
        purpose: str | None = None,
        instead: str = "use integrated_gradients, which needs nothing but gradients",
    ) -> None:
        super().__init__()
        check_visible(model, purpose or "this method")
        self.model, self.rules = model, rules
        self.purpose, self.instead = purpose, instead

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        name, inplace = name_of(func)
        if name in self.rules:
            inplace = inplace or bool(kwargs.get("inplace")) or _says_inplace(name, args)
            call = Call(name, func, args, kwargs, inplace)
            out = self.rules[name](call)
            if inplace and isinstance(out, Tensor):
                return call.tensor().copy_(out)
            return out
        if self.purpose is None:
            return func(*args, **kwargs)
        if name in LINEAR:
            self._check_linear(Call(name, func, args, kwargs, inplace))
            return func(*args, **kwargs)
        out = func(*args, **kwargs)
        if any(active(part) for part in parts(out)):
            raise self.refusal(name, "is not a function it has a rule for")
        return out

    def refusal(self, name: str, why: str) -> UsageError:
        """An error that names the function, the layer that calls it, and what to do instead."""
        return UsageError(
            f"{self.purpose} cannot explain this model: {name!r}, called by "
            f"{caller(self.model)}, {why}; {self.instead}"
        )

    def _check_linear(self, call: Call) -> None:
        if "dropout" in call.name and call.get(2, "training", True) and call.get(1, "p", 0.5):
            raise self.refusal(call.name, "is random because it runs in training mode")
        if call.name == "batch_norm" and call.get(5, "training", False):
            raise self.refusal(call.name, "mixes the samples of a batch in training mode")
        if call.name in WEIGHTED and active(call.get(1, "weight")):
            raise self.refusal(call.name, "has a weight that depends on the input")
        if call.name == "grid_sample" and active(call.get(1, "grid")):
            raise self.refusal(call.name, "has a grid that depends on the input")


def active(value: object) -> bool:
    """Whether a value is a tensor that depends on the input (parameters never do)."""
    return isinstance(value, Tensor) and value.requires_grad and not isinstance(value, nn.Parameter)


def parts(value: object) -> list[object]:
    """The members of a tuple or list, or the value itself."""
    return list(value) if isinstance(value, tuple | list) else [value]


def name_of(func: Callable[..., object]) -> tuple[str, bool]:
    """One plain name for `relu`, `relu_`, `__iadd__`, … and whether the name says "in place"."""
    name = str(getattr(func, "__name__", func)).split(".")[0]
    if name == "__get__":
        name = str(getattr(getattr(func, "__self__", None), "__name__", name))
    plain = name.strip("_").removeprefix("special_")
    dunder = name.startswith("__") and name.endswith("__")
    inplace = (name.startswith("__i") and plain in ALIASES) if dunder else name.endswith("_")
    return ALIASES.get(plain, plain), inplace


def _says_inplace(name: str, args: tuple[object, ...]) -> bool:
    """Activations have no flag but `inplace`, so that a positional True is it."""
    return name in ACTIVATIONS and any(arg is True for arg in args[1:])


def check_visible(model: Predictor, purpose: str) -> None:
    """Refuse compiled programs: their calls do not pass through Python, where rules could act."""
    net = network(model)
    for name, module in net.named_modules() if net is not None else ():
        if isinstance(module, torch.jit.ScriptModule) or type(module).__name__ == "OptimizedModule":
            raise UsageError(
                f"{purpose} has to see each function a model calls, and {name or 'the model'!r} is "
                f"a compiled {type(module).__name__}: give the Python model, or use "
                f"integrated_gradients"
            )


def caller(model: Predictor) -> str:
    """In words, the innermost layer that is running: found on the stack, only to say it."""
    net = network(model)
    names = {id(module): name for name, module in net.named_modules()} if net is not None else {}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in names:
            what = f"layer {names[id(owner)]!r}" if names[id(owner)] else "the model itself"
            return f"{what} ({type(owner).__name__})"
        frame = frame.f_back
    return "a plain function or the target"


class Instead(torch.autograd.Function):
    """The first argument's value, differentiated as if it were the second."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, tangent: Tensor) -> Tensor:
        ctx.mark_dirty(value)  # it becomes the output: a view could not be overwritten in place
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad


class Slope(torch.autograd.Function):
    """A value with a given derivative with respect to `u`, element by element."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        ctx.mark_dirty(value)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None


def instead(value: Tensor, tangent: Tensor) -> Tensor:
    """The tensor `value`, from now on with the graph of `tangent`."""
    out: Tensor = Instead.apply(_own(value), tangent.expand_as(value))
    return out


def with_slope(u: Tensor, value: Tensor, slope: Tensor) -> Tensor:
    """The tensor `value`, from now on with that derivative with respect to `u`."""
    out: Tensor = Slope.apply(u, _own(value), slope)
    return out


def _own(value: Tensor) -> Tensor:
    """Detached, and no view of a tensor that has a use of its own."""
    return value.detach() if value._base is None else value.detach().clone()
