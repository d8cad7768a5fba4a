#!/usr/bin/env python3
"""How a model ages, left alone and recalibrated every day: docs/training.md.

  tests/bench/bench_ageing.py --work DIR --model MODEL --scenario FILE --days 9:16 [--requests N] [--build build/release]

MODEL has learnt the virtual days before the first. Each day is judged by `bidsieve-world judge`: by the model as it is, and by one
that `bidsieve recalibrate` has brought up to date by the day before (the model of the day before that, and so on: never
trained). Prints Markdown. MODEL may be one of bench_results.py's: DIR/demo-120000-1/ours.safetensors with DIR/demo-1.json.
"""
import argparse
import json
import shutil
import subprocess
from pathlib import Path

RECALL, BIDS_MIN = 0.97, 100


def run(*command, stdin=None, stdout=subprocess.PIPE):
    return subprocess.run([str(c) for c in command], stdin=stdin, stdout=stdout, check=True, text=True).stdout


def capture(o, day):
    path = o.work / f"{o.scenario.stem}-day{day}.ndjson"
    if not path.exists():
        with open(path, "w") as out:
            run(o.build / "bidsieve-world", "capture", "--scenario", o.scenario, "--days", day, "--requests", o.requests, stdout=out)
    return path


def judge(o, model, day):
    scores = o.work / "scores"
    with open(capture(o, day)) as lines, open(scores, "w") as out:
        run(o.build / "bidsieve", "score", "--model", model, "--recall", RECALL, stdin=lines, stdout=out)
    return json.loads(run(o.build / "bidsieve-world", "judge", "--scenario", o.scenario, "--capture", capture(o, day), "--scores", scores,
                          "--recall", RECALL, "--json"))


def figures(j):
    sent = j["total"]["as_sent"]
    low = [d["dsp"] for d in j["dsps"] if d["bids"] >= BIDS_MIN and d["as_sent"]["recall"] < 0.955]
    return f"{j['total']['ratio']:.3f} | {sent['recall']:.3f} | {100 * sent['withheld']:.1f}% | {len(low)}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, required=True, metavar="DIR", help="captures and models of the days go there")
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--scenario", type=Path, required=True)
    p.add_argument("--days", required=True, metavar="A:B", help="A is the first day that the model has not seen; B is not among them")
    p.add_argument("--requests", type=int, default=20000, metavar="N", help="a day")
    p.add_argument("--build", type=Path, default=Path(__file__).resolve().parents[2] / "build/release")
    o = p.parse_args()
    first, end = map(int, o.days.split(":"))
    o.work.mkdir(parents=True, exist_ok=True)
    daily = o.work / "daily.safetensors"
    shutil.copy(o.model, daily)
    cells = f"ratio to the optimum at {RECALL} | recall as sent | withheld | DSPs of {BIDS_MIN}+ bids below 0.955"
    print(f"| day | left alone: {cells} | recalibrated daily: {cells} |\n|---|" + "---|" * 8)
    for day in range(first, end):
        if day > first:
            run(o.build / "bidsieve", "recalibrate", "--model", daily, "--capture", capture(o, day - 1), "--out", daily, "--json")
        print(f"| {day} | {figures(judge(o, o.model, day))} | {figures(judge(o, daily, day))} |", flush=True)


if __name__ == "__main__":
    main()
