"""Compile what the GPU engine launches, for a Hopper GPU, on a machine that has none.

    python tests/kernels/gpu/compile.py NEURONS:PRECISION ...

PRECISION is torch's float32 matmul precision. Prints the kernels' names. The engine runs as it is,
with tensors in main memory; in place of each launch the kernel is compiled, down to machine code.
"""

import os
import sys
from pathlib import Path


class Hopper:
    """As much of a Triton driver as the compiler asks for."""

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


def main(settings):
    os.environ["TRITON_INTERPRET"] = "0"
    sys.path.insert(0, str(Path(__file__).parents[3]))
    import torch
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    driver.set_active(Hopper())
    launch = JITFunction.run

    def compile_only(self, *args, warmup, **options):
        kernel = launch(self, *args, warmup=True, **options)
        assert kernel.asm["cubin"]
        print(self.__name__)

    JITFunction.run = compile_only
    from snnbreg.kernels import gpu

    gpu.engine.supports = lambda current, neuron: True
    for setting in settings:
        neurons, precision = setting.split(":")
        torch.set_float32_matmul_precision(precision)
        N = int(neurons)
        leaves = [torch.rand(shape).requires_grad_() for shape in ((3, 2, N), (N, N), (N,), (N,))]
        gpu.delayed_recurrence(*leaves, mask=torch.ones(2, N)).sum().backward()
        gpu.lif(leaves[0]).sum().backward()


if __name__ == "__main__":
    main(sys.argv[1:])
