"""The tensors of a module by name: its parameters and all of its buffers."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from innerloop.core.checkpoint import with_optional
from innerloop.core.task import InputError


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, those that are not in the state dict too.

    Raises:
        InputError: for a lazy layer that has seen no input, or a module with a state of its own making.
    """
    for name, part in module.named_modules():
        if type(part).get_extra_state is not nn.Module.get_extra_state:
            raise InputError(
                f"{name or 'the learner'} has a state that is no tensor (get_extra_state): keep it in a buffer"
            )
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    for name, tensor in named:
        if is_lazy(tensor):
            raise InputError(f"{name} has no shape yet: run the network once on an example before saving it")
    return {name: tensor.detach() for name, tensor in named}


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> str | None:
    """Give a module its tensors, of whatever dtype they are: all of them, or none and the reason.

    A buffer may have another shape than the module was built with, or not be there yet: what was calibrated is. A part
    that is optional may be absent, see :func:`innerloop.core.checkpoint.with_optional`.
    """
    tensors = with_optional(module, tensors)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    buffers = {
        f"{place}.{leaf}" if place else leaf: (part, leaf, buffer)
        for place, part in module.named_modules(remove_duplicate=False)
        for leaf, buffer in part._buffers.items()
    }
    for name in sorted(parameters.keys() | buffers.keys() | tensors.keys()):
        if name not in tensors:
            if name in parameters or buffers[name][2] is not None:
                return f"lacks the weight {name!r}"
        elif name not in parameters and name not in buffers:
            return f"has, and the learner has not, the weight {name!r}"
        elif name in parameters and parameters[name].shape != tensors[name].shape:
            shapes = tuple(tensors[name].shape), tuple(parameters[name].shape)
            return f"has the weight {name!r} in shape {shapes[0]}, the learner in {shapes[1]}"
    devices = {p.device for p in parameters.values()}
    for name, tensor in tensors.items():
        if name in parameters:
            parameters[name].data = tensor.to(parameters[name].device, copy=True)
        else:
            part, leaf, buffer = buffers[name]
            device = buffer.device if buffer is not None else next(iter(devices), tensor.device)
            part._buffers[leaf] = tensor.to(device, copy=True)
    return None
