"""Wall time of whole processes: how long a user waits for the first thing.

    python benchmarks/start_up.py [--picture FILE] [--runs 15]

- `ferlite --help`
- `import ferlite`: `python -c "import ferlite"` less `python -c pass`, of the same round
- the first result: `ferlite detect PICTURE --save jsonl` into a fresh folder, with a warm user
  cache and with an empty one (XDG_CACHE_HOME), as on the day of the installation: there ferlite
  measures which of its networks is faster.

All in turns, round by round; one round before them is not counted, so that the files read are in
the system's cache and the user cache is warm. `ferlite` is started as `python -m ferlite`, with
this interpreter. Asserts that help is printed and that the record holds a face.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from importlib import resources
from pathlib import Path

from processes import FERLITE, environment, goal, machine, run

GOALS = {"help": 0.15, "import": 0.05, "first result, warm cache": 1.0}


def timed(command: list[str], env: dict[str, str], *, prints: str = "") -> float:
    """Seconds of a command that must succeed and print what `prints` says."""
    with tempfile.TemporaryFile("w+") as output:
        ended = run(command, env, output)
        output.seek(0)
        text = output.read()
    assert ended.status == 0 and prints in text, f"{command}: status {ended.status}: {text}"
    return ended.wall_s


def first_result(picture: str, env: dict[str, str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        command = [*FERLITE, "detect", picture, "--save", "jsonl", "-o", str(out)]
        seconds = timed(command, env)
        (line,) = (out / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["faces"], f"{picture}: no face found"
    return seconds


def one_round(picture: str, warm: str) -> dict[str, float]:
    env = environment(XDG_CACHE_HOME=warm)
    empty = timed([sys.executable, "-P", "-c", "pass"], env)
    whole = timed([sys.executable, "-P", "-c", "import ferlite"], env)
    result = {
        "python alone": empty,
        "import": whole - empty,
        "help": timed([*FERLITE, "--help"], env, prints="Usage:"),
        "first result, warm cache": first_result(picture, env),
    }
    with tempfile.TemporaryDirectory() as cold:
        result["first result, cold cache"] = first_result(picture, environment(XDG_CACHE_HOME=cold))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    packaged = resources.files("ferlite.demo") / "astronaut.jpg"
    parser.add_argument("--picture", default=str(packaged))
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    print(f"{machine()}\n{options.runs} runs each, picture {Path(options.picture).name}")
    with tempfile.TemporaryDirectory() as warm:
        one_round(options.picture, warm)
        rounds = [one_round(options.picture, warm) for _ in range(options.runs)]
    print("\n| process | median s | fastest to slowest |\n|---|---|---|")
    medians = {}
    for name in rounds[0]:
        times = [one[name] for one in rounds]
        medians[name] = statistics.median(times)
        print(f"| {name} | {medians[name]:.3f} | {min(times):.3f} to {max(times):.3f} |")
    print()
    for name, limit in GOALS.items():
        goal(name, medians[name], limit, " s")


if __name__ == "__main__":
    main()
