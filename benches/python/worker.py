"""How a worker talks with the program that compares: lines of JSON, as benches/src/protocol.rs has it."""

import json
import os
import sys


def task():
    """The task named on the command line."""
    with open(sys.argv[1], encoding="utf-8") as file:
        return json.load(file)


def missing(system, error):
    """Says that the system cannot run here, and ends."""
    _say({"system": system, "missing": f"{error} (pip install it to compare)"})
    sys.exit(0)


def serve(system, run):
    """Answers until told to end. `run` gives parts [[name, seconds]], result [numbers], facts [[name, number]]."""
    _say({"system": system})
    for line in sys.stdin:
        if line.strip() == "end":
            _say({"peak": _peak()})
            return
        parts, result, facts = run()
        _say({"parts": parts, "result": result, "facts": facts})


def threads():
    """As many threads as this project's side may use."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def _peak():
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    except OSError:
        return None


def _say(message):
    _OUT.write(json.dumps(message) + "\n")
    _OUT.flush()


# What libraries print must not end up between the lines of the protocol.
_OUT = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
