#!/usr/bin/env python3
"""What docs/results.md claims about withheld share and recall: every model on several worlds, sizes and seeds.

  tests/bench/bench_results.py --work /tmp/results [--worlds demo,giants,apps] [--auctions 120000,1000000] [--seeds 1,2,3]
                               [--models mlp,linear,xgboost,ours] [--build build/release] [--markdown FILE]

Virtual days 0-6 are trained on, day 7 stops early and calibrates (then all eight are trained on again, as `train` does by
default), day 8 is tested, by `bidsieve-world judge`. A seed is another world of the same shape and another seed of the
trainer. Every result is kept as WORK/cells/*.json, so that a run that was cut goes on where it was, and --table prints
what there is. Prints Markdown. XGBoost takes the vocabularies of `ours`, which is therefore trained first.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
DAYS, RECALL = 8, 0.97  # days 0-6 and 7; the next is tested
VALIDATION = ["--validation-share", str(1 / DAYS)]
TRAIN = {"ours": [], "mlp": ["--arch", "mlp"], "linear": ["--linear"]}
NAMES = {"ours": "bidsieve", "mlp": "mlp (published)", "linear": "linear", "xgboost": "XGBoost per DSP"}


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run(*command, stdin=None, stdout=subprocess.PIPE, environment=None):
    r = subprocess.run([str(c) for c in command], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True,
                       env=os.environ | (environment or {}))
    if r.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {r.returncode}\n{r.stderr}")
    return r.stdout


class Bench:
    def __init__(self, options):
        self.o, self.work = options, Path(options.work)
        self.bidsieve, self.world = Path(options.build) / "bidsieve", Path(options.build) / "bidsieve-world"
        self.extra = dict(item.split("=", 1) for item in options.train_options)
        (self.work / "cells").mkdir(parents=True, exist_ok=True)

    def cell_path(self, world, auctions, seed, model):
        return self.work / "cells" / f"{world}-{auctions}-{seed}-{model}.json"

    def scenario(self, world, seed):
        """The world is the same at every size: requests are spread over days that are as large as the largest."""
        path = self.work / f"{world}-{seed}.json"
        if not path.exists():
            scenario = json.loads((SOURCE / f"loadtest/scenarios/{world}.json").read_text())
            scenario["seed"] += 1000 * (seed - 1)
            scenario["traffic"]["requests_per_day"] = 150000
            path.write_text(json.dumps(scenario))
        return path

    def capture(self, path, scenario, days, requests):
        if not path.exists():
            part = path.with_suffix(".part")
            with open(part, "w") as out:
                run(self.world, "capture", "--scenario", scenario, "--days", days, "--requests", requests, stdout=out)
            part.rename(path)
        return path

    def judge(self, scenario, test, scores):
        return json.loads(run(self.world, "judge", "--scenario", scenario, "--capture", test, "--scores", scores, "--recall",
                              RECALL, "--json"))

    def train(self, folder, capture, model, seed):
        path = folder / f"{model}.safetensors"
        options = TRAIN[model] + self.extra.get(model, "").split()
        report = run(self.bidsieve, "train", "--capture", capture, "--out", path, "--recall", RECALL, "--seed", seed, "--threads",
                     self.o.threads, *VALIDATION, *options, "--json")
        return path, json.loads(report)

    def bidsieve_cell(self, folder, scenario, capture, test, model, seed):
        path, report = self.train(folder, capture, model, seed)
        scores = folder / f"{model}.scores"
        with open(test) as lines, open(scores, "w") as out:
            run(self.bidsieve, "score", "--model", path, "--recall", RECALL, stdin=lines, stdout=out)
        return scores, {"train": report}

    def xgboost_cell(self, folder, scenario, capture, test, seed):
        model = folder / "ours.safetensors"
        if not model.exists():
            self.train(folder, capture, "ours", seed)
        for name, records in (("rows", capture), ("test-rows", test)):
            if not (folder / name / "meta.json").exists():
                run(self.bidsieve, "encode", "--capture", records, "--model", model, "--out", folder / name)
        scores = folder / "xgboost.scores"
        by_dsp = []  # each in a process of its own, which gives back its memory
        for dsp in json.loads((folder / "rows" / "meta.json").read_text())["dsps"]:
            by_dsp.append(run(self.o.xgboost_python, SOURCE / "tests/bench/xgboost_rival.py", folder / "rows", folder / "test-rows",
                              *VALIDATION, "--dsps", dsp, "--seed", seed, "--threads", self.o.threads,
                              *self.extra.get("xgboost", "").split(), environment={"OMP_NUM_THREADS": str(self.o.threads)}).splitlines())
        with open(scores, "w") as out:
            for lines in zip(*by_dsp):
                out.write(json.dumps({"dsps": [d for line in lines for d in json.loads(line)["dsps"]]}) + "\n")
        return scores, {}

    def cell(self, world, auctions, seed, model):
        path = self.cell_path(world, auctions, seed, model)
        if path.exists():
            return
        scenario = self.scenario(world, seed)
        folder = self.work / f"{world}-{auctions}-{seed}"
        folder.mkdir(exist_ok=True)
        capture = self.capture(folder / "train.ndjson", scenario, f"0:{DAYS}", -(-auctions // (DAYS - 1)))
        test = self.capture(folder / "test.ndjson", scenario, f"{DAYS}", self.o.test_requests)
        say(f"{world}, {auctions} auctions, seed {seed}: {model}")
        started = time.monotonic()
        if model == "xgboost":
            scores, more = self.xgboost_cell(folder, scenario, capture, test, seed)
        else:
            scores, more = self.bidsieve_cell(folder, scenario, capture, test, model, seed)
        seconds = time.monotonic() - started
        result = {"world": world, "auctions": auctions, "seed": seed, "model": model, "seconds": seconds,
                  "judge": self.judge(scenario, test, scores), **more}
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result))
        part.rename(path)
        say(f"  ratio {result['judge']['total']['ratio']:.4f} in {seconds:.0f} s")

    def clean(self, world, auctions, seed):
        """Captures and rows can be made again, and are large."""
        folder = self.work / f"{world}-{auctions}-{seed}"
        for path in sorted(folder.glob("**/*"), reverse=True) if folder.exists() else []:
            if path.suffix in (".ndjson", ".npy", ".scores") or path.name == "meta.json":
                path.unlink()

    def run_all(self):
        models = sorted(self.o.models, key=lambda m: m == "xgboost")
        for auctions in self.o.auctions:
            for seed in self.o.seeds:
                for world in self.o.worlds:
                    for model in models:
                        self.cell(world, auctions, seed, model)
                    if not self.o.keep:
                        self.clean(world, auctions, seed)


# ---- tables ----

def mean_spread(values, percent=False):
    """Mean, and the standard deviation over seeds where there are several."""
    scale, digits = (100, 1) if percent else (1, 3)
    text = f"{scale * statistics.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ± {scale * statistics.stdev(values):.{digits}f}"
    return text + ("%" if percent else "")


def load_cells(work):
    cells = {}
    for path in sorted((Path(work) / "cells").glob("*.json")):
        c = json.loads(path.read_text())
        cells.setdefault((c["world"], c["auctions"]), {}).setdefault(c["model"], {})[c["seed"]] = c
    return cells


def totals_table(cells, models):
    print("Withheld share on the test day at an expected recall of exactly 0.97, relative to the best possible filter's on the\n"
          "same requests: every DSP at that recall, over all calls. Mean ± standard deviation over seeds.\n")
    print("| world | auctions | seeds | optimum withholds | " + " | ".join(NAMES[m] for m in models) + " | bidsieve - XGBoost, each seed |")
    print("|---|---|---|---|" + "---|" * len(models) + "---|")
    for (world, auctions), by_model in cells.items():
        row, any_model = [], next(iter(by_model.values()))
        for m in models:
            ratios = [c["judge"]["total"]["ratio"] for c in by_model.get(m, {}).values()]
            row.append(mean_spread(ratios) if ratios else "-")
        ours, rival = by_model.get("ours", {}), by_model.get("xgboost", {})
        apart = [f"{ours[s]['judge']['total']['ratio'] - rival[s]['judge']['total']['ratio']:+.3f}" for s in ours if s in rival]
        optimum = mean_spread([c["judge"]["total"]["optimal_withheld"] for c in any_model.values()], percent=True)
        print(f"| {world} | {auctions} | {', '.join(map(str, any_model))} | {optimum} | " + " | ".join(row) + f" | {', '.join(apart) or '-'} |")


def recall_table(cells):
    print("\nThe shipped defaults on the test day, asked for a recall of 0.97: what `send` did. \"Costs\" is the share of calls that\n"
          "is sent beyond what exactly 0.97 would take: the price of the confidence and the margin.\n")
    print("| world | auctions | seed | recall, expected | counted | worst DSP of 100+ bids | withheld | at exactly 0.97 | costs |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (world, auctions), by_model in cells.items():
        for seed, c in by_model.get("ours", {}).items():
            total, sent = c["judge"]["total"], c["judge"]["total"]["as_sent"]
            large = [d for d in c["judge"]["dsps"] if d["bids"] >= 100]
            worst = min(large, key=lambda d: d["as_sent"]["recall"], default=None)
            told = f"{worst['dsp']} {worst['as_sent']['recall']:.4f}" if worst else "-"
            print(f"| {world} | {auctions} | {seed} | {sent['recall']:.4f} | {sent['recall_counted']:.4f} | {told} | {sent['withheld']:.1%} | "
                  f"{total['withheld']:.1%} | {total['withheld'] - sent['withheld']:+.1%} |")


def dsp_tables(cells, models):
    for (world, auctions), by_model in cells.items():
        print(f"\n{world}, {auctions} auctions, per DSP: optimum, then ratios.\n")
        print("| DSP | bids on the test day | optimum withholds | " + " | ".join(NAMES[m] for m in models) + " |")
        print("|---|---|---|" + "---|" * len(models))
        any_model = next(iter(by_model.values()))
        for i, d in enumerate(next(iter(any_model.values()))["judge"]["dsps"]):
            of = lambda m, key: [c["judge"]["dsps"][i][key] for c in by_model.get(m, {}).values() if c["judge"]["dsps"][i][key] is not None]
            first = next(iter(by_model))
            row = [mean_spread(of(m, "ratio")) if of(m, "ratio") else "-" for m in models]
            print(f"| {d['dsp']} | {statistics.mean(of(first, 'expected_bids')):.0f} | {mean_spread(of(first, 'optimal_withheld'), percent=True)} | "
                  + " | ".join(row) + " |")


def speed_table(cells, models):
    print("\nSeconds a cell took (train, refit, score) on this machine:\n")
    print("| world | auctions | " + " | ".join(NAMES[m] for m in models) + " |\n|---|---|" + "---|" * len(models))
    for (world, auctions), by_model in cells.items():
        print(f"| {world} | {auctions} | " + " | ".join(
            f"{statistics.median([c['seconds'] for c in by_model[m].values()]):.0f}" if m in by_model else "-" for m in models) + " |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words, numbers = lambda text: text.split(","), lambda text: [int(n) for n in text.split(",")]
    p.add_argument("--work", required=True, metavar="DIR", help="results and what they are made of; some GB at 1,000,000 auctions")
    p.add_argument("--build", default=SOURCE / "build/release", metavar="DIR")
    p.add_argument("--worlds", type=words, default="demo,giants,apps", metavar="A,B", help="of loadtest/scenarios")
    p.add_argument("--auctions", type=numbers, default="120000,1000000", metavar="N,M", help="on days 0-6, at most 1050000")
    p.add_argument("--seeds", type=numbers, default="1,2,3", metavar="S,T")
    p.add_argument("--models", type=words, default="ours,mlp,linear,xgboost", metavar="A,B")
    p.add_argument("--test-requests", type=int, default=40000, metavar="N", help="of day 8")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--train-options", nargs="*", default=[], metavar="MODEL='OPTIONS'", help="added to that model's training")
    p.add_argument("--xgboost-python", default="/usr/bin/python3", help="one that has xgboost and numpy: Debian's python3-xgboost")
    p.add_argument("--keep", action="store_true", help="keep captures, rows and scores")
    p.add_argument("--table", action="store_true", help="only print the tables of what is there")
    p.add_argument("--markdown", metavar="FILE", help="the tables go there; else to standard output")
    o = p.parse_args()
    if max(o.auctions) > 150000 * (DAYS - 1) or o.test_requests > 150000:
        p.error("a day has 150000 requests")
    if not o.table:
        Bench(o).run_all()
    cells = load_cells(o.work)
    models = [m for m in ("linear", "mlp", "xgboost", "ours") if any(m in c for c in cells.values())]
    if o.markdown:
        sys.stdout = open(o.markdown, "w")
    totals_table(cells, models)
    recall_table(cells)
    dsp_tables(cells, models)
    speed_table(cells, models)


if __name__ == "__main__":
    main()
