"""A model of the size of bitnet-b1.58-2B-4T through the commands: CPU time and memory of each, measured and limited.

    python -m tests.campaigns.large

It writes files of 4 GB in all, in the system's folder for temporary files, and removes them.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from setun.formats.convert import convert
from tests.support.checkpoints import Wide


LAYERS = 30
MOST_BYTES = 2_000_000_000  # of memory, the pages of mapped files included
MOST_SECONDS = {"inspect": 60, "convert": 180}  # of CPU time, on a small machine
MAIN = "from setun.cli.main import main; main()"


def command(*arguments):
    """Run ``setun`` in a process of its own. Returns its processor's seconds, and the most memory it held, in bytes."""
    process = subprocess.Popen([sys.executable, "-c", MAIN, *map(str, arguments)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        convert(Wide(LAYERS), folder / "hf", "hf")
        print(f"{(folder / 'hf' / 'model.safetensors').stat().st_size:,} bytes")
        source = folder / "hf"
        for form in ("setun", "gguf-i2s", "hf"):
            for arguments in (("inspect", source), ("convert", source, folder / f"as-{form}", "--format", form)):
                seconds, most = command(*arguments)
                print(f"{arguments[0]} {source.name}{' to ' + form if arguments[0] == 'convert' else ''}: "
                      f"{seconds:.1f} s, {most:,} bytes")
                assert seconds < MOST_SECONDS[arguments[0]] and most < MOST_BYTES
            source = folder / f"as-{form}"


if __name__ == "__main__":
    main()
