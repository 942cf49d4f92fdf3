"""Where there is no GPU, its kernels are tested in Triton's interpreter, on the CPU.

Triton reads the variable when a kernel is defined, so it is set before any module is imported.
"""

import os
from importlib.util import find_spec

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

collect_ignore_glob = [] if find_spec("triton") else ["snnbreg/kernels/gpu*"]
