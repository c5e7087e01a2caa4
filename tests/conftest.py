"""For all tests: one thread, so that they neither fight for cores nor differ by machine."""

import os

import torch

torch.set_num_threads(1)
# Lightning's own use of jsonargparse, not ours.
os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"
