"""Changes of an index that die before a call that touches the disk.

As a program: carries out every change on copies of an index, killed before its first, second, ... such call.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import torch

from lightning_interp.functional.retrieval.index import ImageIndex

CALLS = ("fsync", "replace", "unlink")
CHANGES = {
    "add": lambda index: index.add(["x", "y"], torch.eye(4)[:2] + 0.3),
    "replace": lambda index: index.add(["a", "x"], torch.eye(4)[:2] + 0.3, replace=True),
    "remove": lambda index: index.remove(["b"]),
    "compact": lambda index: index.compact(),
}


def example(folder):
    index = ImageIndex.create(folder, dim=4, fingerprint="f")
    index.add(["a", "b"], torch.eye(4)[:2])
    index.add(["c", "d", "e"], torch.eye(4)[1:] + 0.1)
    index.remove(["d"])
    return index


def dying_calls(step, die):
    """The calls, of which the one number ``step`` dies; what was not flushed to the disk by then may be half there."""
    steps = iter(range(step, -1, -1))

    def dying(call):
        def wrapper(*args, **kwargs):
            if next(steps, None) == 0:
                if call is fsync and os.path.isfile(f"/proc/self/fd/{args[0]}"):
                    os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
                die()
            return call(*args, **kwargs)

        return wrapper

    fsync = os.fsync
    return {name: dying(getattr(os, name)) for name in CALLS}


def killed(change, folder, step):
    """Whether the change was killed; else it has no call of this number, and is done."""
    child = os.fork()
    if child == 0:
        for name, call in dying_calls(step, lambda: os.kill(os.getpid(), signal.SIGKILL)).items():
            setattr(os, name, call)
        CHANGES[change](ImageIndex.open(folder))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def main(root):
    example(root / "before")
    for change in CHANGES:
        step, again = 0, True
        while again:
            folder = root / f"{change}-{step:02d}"
            shutil.copytree(root / "before", folder)
            step, again = step + 1, killed(change, folder, step)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
