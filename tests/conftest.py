"""For all tests: one thread each, so that they neither fight for cores nor differ by machine."""

import torch

torch.set_num_threads(1)
