"""Where and how the numbers are computed: device, precision, memory format, compilation."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from attributome.core.errors import UsageError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """A resolved choice; `choose` makes one from what the user asked and what the machine has."""

    device: str = "cpu"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the three doors and the training loops run."""
        kind = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.split(":")[0], kind, enabled=self.precision != "fp32")

    def move(self, x: Tensor) -> Tensor:
        """A batch `(b, c, *s)` on the device, channels last, which convolutions prefer."""
        on_device = x.to(self.device, non_blocking=True)
        layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
        return on_device if layout is None else on_device.contiguous(memory_format=layout)

    def place(self, net: Net, dims: int) -> Net:
        """A network on the device, channels last; compiled in place where that was asked.

        On a CPU, strided 1x1 convolutions stay contiguous and take their input so: see `skips`.
        """
        net.to(self.device)
        layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dims]
        guarded = skips(net) if self.device.split(":")[0] == "cpu" else []
        for conv in guarded:
            if _contiguous not in conv._forward_pre_hooks.values():
                conv.register_forward_pre_hook(_contiguous)
        for weight in (*net.parameters(), *net.buffers()):
            if weight.ndim == dims + 2:
                weight.data = weight.data.contiguous(memory_format=layout)
        for conv in guarded:  # `contiguous` takes both formats of a 1x1 weight for the same
            conv.weight.data = conv.weight.data.clone(memory_format=torch.contiguous_format)
        if self.compile and not isinstance(net, torch.jit.ScriptModule):
            net.compile()
        return net


def skips(net: nn.Module) -> list[nn.Conv2d | nn.Conv3d]:
    """Convolutions of kernel 1 with a stride, as on the shortcuts of a ResNet.

    Channels last, the weight gradient of one with 2 to 6 input channels writes beyond its memory on
    CPUs with AVX2 and no AVX-512 (PyTorch 2.13, oneDNN): the process dies at that place or later.
    It takes the format of its input as well as that of its weights, so both must be contiguous.
    """
    return [
        layer
        for layer in net.modules()
        if isinstance(layer, nn.Conv2d | nn.Conv3d)
        and max(layer.kernel_size) == 1
        and max(layer.stride) > 1
    ]


def _contiguous(_conv: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.contiguous() for x in inputs)


def choose(device: str = "auto", precision: Precision = "auto", compile: bool = False) -> Compute:
    """Resolve "auto": the fastest device present, and the precision that is faster on it.

    bf16 on CUDA cards that have it, else fp16; on a CPU bf16 only with AMX tiles, because
    emulated bf16 was measured at half the speed of fp32; fp32 on MPS.
    """
    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    kind = device.split(":")[0]
    present = {"cpu": True, "cuda": torch.cuda.is_available()}
    present["mps"] = torch.backends.mps.is_available()
    if not present.get(kind, False):
        have = [name for name, here in present.items() if here]
        raise UsageError(f"device {device!r} is not on this machine, which has {have}")
    if precision == "auto":
        if kind == "cuda":
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        else:
            tiles = kind == "cpu" and torch.cpu._is_amx_tile_supported()
            precision = "bf16" if tiles else "fp32"
    if precision == "fp16" and kind == "cpu":
        raise UsageError("precision fp16 needs a GPU; use fp32 or bf16 on a CPU")
    return Compute(device=device, precision=precision, compile=compile)
