"""Run scripts in processes of their own, one or several, and read what they report."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def report(*parts):
    """Called by a script: one line, written at once, because several processes share the pipe."""
    os.write(1, f"{' '.join(map(str, ('RESULT', *parts)))}\n".encode())


def run_script(source, folder, *arguments, timeout=600):
    """Run ``source`` as a file, so that a strategy can start it again; what the finished process left."""
    script = folder / "run.py"
    script.write_text(source)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)


def reports(done):
    """The lines that the processes reported."""
    return [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]


def one_and_two(source, folder, *arguments):
    """What a script reports whose first argument is the number of processes: ``[line]`` of one, both lines of two."""
    found = []
    for devices in (1, 2):
        done = run_script(source, folder, devices, *arguments)
        assert done.returncode == 0, done.stderr
        found.append(reports(done))
    return found


def run_code(source, *arguments):
    """Run ``source`` from the root of the repository."""
    command = [sys.executable, "-W", "ignore", "-c", source, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
