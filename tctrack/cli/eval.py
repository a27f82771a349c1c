"""Score result files, and make tables, plots and a report.

Reads DIR/DATASET/TRACKER/SEQUENCE.txt. Every number comes with its protocol: 'otb' counts every frame, as the OTB and
pysot toolkits and most papers on UAV tracking do (an absent target is a miss for success and a hit for precision);
'got10k' drops frames without a target and takes the first box as given, as the got10k toolkit does.

Examples:
  tctrack eval --dataset DTB70 --root data/DTB70 --results results --protocol otb
  tctrack eval --dataset UAV123 --root annotations --results raw_results --protocol otb --html report.html
  tctrack eval --dataset DTB70 --root data/DTB70 --results results --protocol otb --trackers mine mil --latex s.tex
"""

from __future__ import annotations

import argparse
from pathlib import Path

KINDS = ("json", "csv", "latex", "html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--dataset", required=True, metavar="NAME", help="benchmark; 'tctrack datasets' lists them")
    parser.add_argument(
        "--root", required=True, type=Path, metavar="DIR", help="folder of the benchmark, or of NAME.json annotations"
    )
    parser.add_argument("--results", required=True, type=Path, metavar="DIR", help="folder of the results")
    parser.add_argument("--protocol", required=True, choices=("otb", "got10k"), help="which frames count, and how")
    parser.add_argument("--trackers", nargs="+", metavar="NAME", help="folders to score (default: all)")
    parser.add_argument("--sequences", nargs="+", default=(), metavar="SEQ", help="only these sequences")
    parser.add_argument("--partial", action="store_true", help="score the sequences that every tracker has")
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"write {kind}")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from tctrack.benchmark.catalogue import load_benchmark
    from tctrack.benchmark.evaluation import evaluate, format_table, to_csv, to_json, to_latex
    from tctrack.benchmark.results import find_trackers
    from tctrack.files import check_outputs, write_texts

    found = load_benchmark(args.dataset, args.root, args.sequences)
    trackers = args.trackers or find_trackers(args.results, found.benchmark.name)
    outputs = {f"--{kind}": getattr(args, kind) for kind in KINDS}
    check_outputs(outputs, [*found.inputs(), *(args.results / found.benchmark.name).rglob("*.txt")])
    evaluation = evaluate(found, args.results, trackers, args.protocol, args.partial)
    print(format_table(evaluation))
    renderings = ((args.json, to_json), (args.csv, to_csv), (args.latex, to_latex))
    texts = {path: render(evaluation) for path, render in renderings if path}
    if args.html:
        from tctrack.benchmark.report import render_html

        texts[args.html] = render_html(evaluation, args.results)
    write_texts(texts)
    return 0
