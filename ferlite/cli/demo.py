"""`ferlite demo`: the whole pipeline on a clip that ferlite draws itself."""

from __future__ import annotations

from pathlib import Path

import click

from ferlite.cli.params import Name
from ferlite.cli.stderr import say


@click.command(
    epilog="""\b
Examples:
  ferlite demo                   annotated clip and records in ferlite-demo/
  ferlite demo --picture         one annotated picture instead
  ferlite demo -o /tmp/look --model ./mine
"""
)
@click.option(
    "-o",
    "--output",
    type=Name(path_type=Path),
    default=Path("ferlite-demo"),
    show_default=True,
    metavar="DIR",
    help="Folder for the results; made if need be.",
)
@click.option("--picture", is_flag=True, help="One picture instead of the clip.")
@click.option(
    "--model",
    type=Name(),
    default="emotion",
    show_default=True,
    metavar="NAME|DIR|FILE.onnx",
    help="Names the emotions.",
)
def demo(output: Path, picture: bool, model: str) -> None:
    """Reads the emotions of two people in a clip that comes with ferlite: no file, no network.

    The clip shows public-domain portraits of Eileen Collins (NASA) and Grace Hopper (US Navy)
    drifting over a background. One is away for a moment and has the same track afterwards.
    """
    from ferlite.analyzer import Analyzer
    from ferlite.cli.progress import Progress
    from ferlite.cli.report import report
    from ferlite.cli.run import run
    from ferlite.demo.clip import DemoSource
    from ferlite.sinks import Summary, open_sinks
    from ferlite.sinks.folder import writable

    writable(output)
    # The portraits are large; smaller faces there would be false ones.
    analyzer = Analyzer(model=model, min_face=64)
    save = ("images" if picture else "video", "jsonl", "summary")
    sinks = open_sinks(output, save)
    summary = next(sink for sink in sinks if isinstance(sink, Summary))
    with DemoSource(still=picture) as source:
        run(analyzer, source, sinks, summary, Progress(source.items), {})
    report(summary.to_dict(), output, sinks)
    # A file of the user's that has its name is not replaced.
    made = output.glob("demo*.jpg" if picture else "demo*.mp4")
    say(f"look at {max(made, key=lambda path: path.stat().st_mtime)}")
