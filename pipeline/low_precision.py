"""The number format of products: bfloat16 where the device multiplies it, float32 where it would crawl.

`auto` asks the device: a processor without bfloat16 instructions emulates them (measured on one with AVX2 alone: 0.9
GFLOP/s where float32 reaches 150). What is stored is in the same format either way.
"""

from __future__ import annotations

import platform

import torch

from pipeline.settings.stages import Precision


def chosen(precision: Precision, device: torch.device) -> torch.dtype:
    """The format that `precision` means on `device`."""
    if precision == "auto":
        return torch.bfloat16 if multiplies(device) else torch.float32
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]


def name(precision: Precision, device: torch.device) -> str:
    """`bfloat16` or `float32`: for keys of what rounding goes into, and for people."""
    return str(chosen(precision, device)).removeprefix("torch.")


def multiplies(device: torch.device) -> bool:
    """Whether the device has instructions for products in bfloat16, and torch uses them."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # What torch itself asks before it hands a product on to oneDNN instead of its own loops; on x86 that is true of
    # every AVX-512 processor, also of those that have to convert first.
    kernels = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if kernels and platform.machine().lower() in ("x86_64", "amd64"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(kernels)


def autocast(device: torch.device, precision: Precision = "auto") -> torch.autocast:
    """The context in which products are in the chosen format; off where that is float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=chosen(precision, device) == torch.bfloat16)
