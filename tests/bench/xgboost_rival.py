#!/usr/bin/python3
"""The rival: XGBoost, one booster a DSP, on the features that bidsieve trains on.

  bidsieve encode --capture days0-7/ --model ours.safetensors --out rows
  bidsieve encode --capture day8/ --model ours.safetensors --out test
  tests/bench/xgboost_rival.py rows test --validation-share 0.125 >scores
  bidsieve-world judge --scenario S --capture day8/ --scores scores

Prints a line of scores for each request of `test`, in order. What it does with them: trains on the earlier part of the
time, stops early on the later one, trains again on all of it for as many rounds (bidsieve's refit), as wants Debian's
python3-xgboost and numpy. Categorical features, and pairs of the most telling ones, become numbers: the smoothed
log-odds of a bid given the value, per DSP, out of fold by day for the rows that are trained on, from all of them for later
ones. The defaults below were searched on `demo` with 120,000 auctions; docs/results.md tells the search.
"""
import argparse
import json
import sys
import time
from pathlib import Path

import numpy
import xgboost

DEFAULTS = {
    "eta": 0.05, "max_depth": 6, "min_child_weight": 1.0, "lambda": 1.0, "colsample_bytree": 0.5, "subsample": 0.8,
    "max_bin": 64, "rounds": 800, "patience": 15,  # of early stopping
    "smoothing": 20.0,       # requests' worth of the DSP's own rate in every value's rate
    "pair_features": 6,      # so many of the most telling features are crossed with each other
    "native": 0,             # single-valued features as XGBoost's own categories besides
    "one_hot": 32,           # at most so many of a feature's values get a column of their own ...
    "one_hot_share": 0.01,   # ... those that at least this share of the requests have
    "counts": 1,             # how often a value was seen, for features of more than 64 values
    "negatives": 10.0,       # no-bids kept for each bid, weighed up for those left out; 0: all
}
EMPTY = 2**32 - 1


class Rows:
    def __init__(self, folder):
        self.meta = json.loads((Path(folder) / "meta.json").read_text())
        load = lambda name: numpy.load(Path(folder) / f"{name}.npy", mmap_mode="r")
        self.slots, self.ts, self.request, self.dsp = load("slots"), load("ts_ms"), load("request"), load("dsp")
        self.label, self.weight, self.numeric = load("label"), load("weight"), load("numeric")
        self.texts = [f for f in self.meta["features"] if f["kind"] == "texts" and f["values"] > 2]


class Field:
    """A categorical input: codes[columns, requests] below `size`, of both sets of rows; what is not `used` is padding."""

    def __init__(self, size, *codes):
        self.size, self.codes, self.used = size, [], []
        for block in codes:
            used = block != EMPTY
            self.codes.append(numpy.where(used, block, 0).astype(numpy.int32))
            self.used.append(used if len(block) > 1 else None)


def feature_field(feature, rows, test):
    cut = slice(feature["column"], feature["column"] + feature["columns"])
    return Field(feature["values"], rows.slots[:, cut].T, test.slots[:, cut].T)


def pair_field(a, b):
    """Both values at once; of features of several values, the first. A pair that was not learnt from is code 0."""
    joint = [x[0].astype(numpy.int64) * b.size + y[0] for x, y in zip(a.codes, b.codes)]
    known = numpy.unique(joint[0])
    at = [numpy.searchsorted(known, j).clip(max=len(known) - 1) for j in joint]
    return Field(len(known) + 1, *(numpy.where(known[i] == j, i + 1, 0)[None] for i, j in zip(at, joint)))


def most_telling(fields, rows, early, n):
    """By what their values tell about the bids of all DSPs, in bits, on the rows that are trained on."""
    told = numpy.zeros(len(fields))
    for dsp in range(len(rows.meta["dsps"])):
        pairs = numpy.flatnonzero((rows.dsp == dsp) & early[rows.request])
        request, label = rows.request[pairs], rows.label[pairs].astype(float)
        rate = (label.sum() + 1) / (len(label) + 2)
        for i, field in enumerate(fields):
            code = field.codes[0][0][request]
            seen = numpy.bincount(code, minlength=field.size)
            q = (numpy.bincount(code, label, field.size) + 20 * rate) / (seen + 20)
            told[i] += (seen * (q * numpy.log(q / rate) + (1 - q) * numpy.log((1 - q) / (1 - rate)))).sum() / label.sum().clip(1)
    return [fields[i] for i in numpy.argsort(-told, kind="stable")[:n]]


def plain_columns(fields, rows, test, early, options):
    """What does not depend on the DSP: numbers, values as categories, frequent values of several. Of rows, of test; kinds."""
    out, kinds = [[r.numeric[:, i] for i in range(r.meta["numeric"])] for r in (rows, test)], ["q"] * rows.meta["numeric"]
    for field in fields:
        if field.used[0] is None and options["native"]:
            kinds.append("c")
            for columns, codes in zip(out, field.codes):
                columns.append(codes[0])
            continue
        counts = numpy.bincount(field.codes[0][0][early], minlength=field.size)
        order = numpy.argsort(-counts, kind="stable")[:int(options["one_hot"])]
        for v in order[counts[order] >= options["one_hot_share"] * early.sum()]:
            kinds.append("q")
            for columns, codes, used in zip(out, field.codes, field.used):
                there = (codes[0] == v) if used is None else ((codes == v) & used).any(0)
                columns.append(numpy.where(there, numpy.float32(1), numpy.float32("nan")))  # what is missing costs no time
    stacked = []
    for columns in out:
        table = numpy.empty((len(columns[0]), len(columns)), numpy.float32)
        for i, column in enumerate(columns):
            table[:, i] = column
        stacked.append(table)
    return stacked + [kinds]


class Statistics:
    """Log-odds of a bid of one DSP given a field's value, against its log-odds overall; by day, to leave one out."""

    def __init__(self, fields, requests, labels, weights, days, options):
        self.fields, self.s, self.options = fields, options["smoothing"], options
        bids = labels * weights
        self.rate = bids.sum() / weights.sum()
        n_days = int(days.max()) + 1
        self.tables = []
        for field in fields:
            n, b = numpy.zeros((2, field.size * n_days))
            for k, codes in enumerate(field.codes[0]):
                present = 1 if field.used[0] is None else field.used[0][k][requests]
                cell = codes[requests].astype(numpy.int64) * n_days + days
                n += numpy.bincount(cell, weights * present, len(n))
                b += numpy.bincount(cell, bids * present, len(b))
            self.tables.append((n.reshape(-1, n_days), b.reshape(-1, n_days)))

    def columns(self, which, requests, days=None):
        """which: 0 rows, 1 test. days: leave each row's own day out; None: all days count."""
        out = []
        base = numpy.log(self.rate / (1 - self.rate))
        for field, (n, b) in zip(self.fields, self.tables):
            n_all, b_all = n.sum(1, keepdims=True), b.sum(1, keepdims=True)
            if days is not None:
                n_all, b_all = n_all - n, b_all - b
            q = (b_all + self.s * self.rate) / (n_all + self.s)
            odds = (numpy.log(q / (1 - q)) - base).astype(numpy.float32)
            codes, where = field.codes[which][:, requests], 0 if days is None else days
            if field.used[which] is None:
                out.append(odds[codes[0], where])
            else:
                values, used = odds[codes, where], field.used[which][:, requests]
                out.append((values * used).sum(0) / used.sum(0))
                out.append(numpy.where(used, values, -9).max(0))
            if self.options["counts"] and field.size > 64:
                out.append(numpy.log1p(n_all).astype(numpy.float32)[codes[0], where])
        return numpy.stack(out, 1)


class Rival:
    """One DSP's data and booster."""

    def __init__(self, rows, fields, plain, kinds, dsp, options, seed, threads):
        pairs = numpy.flatnonzero(rows.dsp == dsp)
        self.fields, self.plain, self.kinds = fields, plain, kinds
        self.options, self.seed, self.threads = options, seed, threads
        self.request = numpy.array(rows.request[pairs])
        self.label = numpy.array(rows.label[pairs], numpy.float64)
        self.weight = numpy.array(rows.weight[pairs], numpy.float64)
        self.day = ((rows.ts[self.request] - rows.meta["from_ms"]) // 86_400_000).astype(numpy.int64)

    def matrix(self, statistics, kept, day=None):
        requests = self.request[kept]
        x = numpy.concatenate([self.plain[requests], statistics.columns(0, requests, day)], 1)
        return x, self.label[kept], self.weight[kept]

    def statistics(self, kept):
        return Statistics(self.fields, self.request[kept], self.label[kept], self.weight[kept], self.day[kept], self.options)

    def thinned(self, kept):
        """All bids, and so many no-bids a bid; their weight makes up for those left out."""
        label, weight = self.label[kept], numpy.ones(len(kept))
        wanted = self.options["negatives"] * label.sum()
        share = wanted / max(1, (label == 0).sum())
        if self.options["negatives"] <= 0 or share >= 1:
            return kept, weight
        drawn = (label == 1) | (numpy.random.default_rng(self.seed).random(len(kept)) < share)
        weight[label == 0] = 1 / share
        return kept[drawn], weight[drawn]

    def fit(self, kept, rounds, later=None):
        statistics = self.statistics(kept)
        chosen, factor = self.thinned(kept)
        x, y, w = self.matrix(statistics, chosen, self.day[chosen])
        o = self.options
        types = self.kinds + ["q"] * (x.shape[1] - len(self.kinds))
        shared = {"nthread": self.threads, "max_bin": int(o["max_bin"]), "feature_types": types}
        data = xgboost.QuantileDMatrix(x, y, weight=w * factor, **shared)
        del x
        parameters = {"objective": "binary:logistic", "eval_metric": "logloss", "tree_method": "hist", "seed": self.seed,
                      "nthread": self.threads, "max_bin": int(o["max_bin"])} | {k: o[k] for k in (
                          "eta", "max_depth", "min_child_weight", "lambda", "colsample_bytree", "subsample")}
        parameters["max_depth"] = int(parameters["max_depth"])
        if later is None:
            return statistics, xgboost.train(parameters, data, int(rounds))
        x, y, w = self.matrix(statistics, later)
        # Not a QuantileDMatrix: predicting from one is a search for each number, and took nine tenths of the time.
        watched = xgboost.DMatrix(x, y, weight=w, nthread=self.threads, feature_types=types)
        del x
        return statistics, xgboost.train(parameters, data, int(rounds), evals=[(watched, "later")], verbose_eval=False,
                                         early_stopping_rounds=int(o["patience"]))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rows", help="what to learn from, by `bidsieve encode`")
    p.add_argument("test", help="what to score, encoded with the same vocabularies")
    p.add_argument("--validation-share", type=float, default=0.125, help="last share of the time: early stopping")
    p.add_argument("--no-refit", action="store_true", help="keep the boosters that never saw the last share")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--dsps", metavar="A,B", help="only these, for a search; the others get no score")
    p.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help=f"of {DEFAULTS}")
    a = p.parse_args()
    options = dict(DEFAULTS)
    for name, value in (item.split("=") for item in a.set):
        options[name] = type(options[name])(float(value))
    rows, test = Rows(a.rows), Rows(a.test)
    assert [f["values"] for f in rows.texts] == [f["values"] for f in test.texts], "encoded with other vocabularies"
    cut = rows.meta["to_ms"] - a.validation_share * (rows.meta["to_ms"] - rows.meta["from_ms"])
    early_requests = numpy.asarray(rows.ts) < cut
    fields = [feature_field(f, rows, test) for f in rows.texts]
    plain, plain_test, kinds = plain_columns(fields, rows, test, early_requests, options)
    crossed = most_telling(fields, rows, early_requests, int(options["pair_features"]))
    fields += [pair_field(x, y) for i, x in enumerate(crossed) for y in crossed[:i]]
    everything = numpy.arange(test.meta["requests"])
    chosen = a.dsps.split(",") if a.dsps else rows.meta["dsps"]
    scores = []
    for dsp, name in enumerate(rows.meta["dsps"]):
        if name not in chosen:
            scores.append(None)
            continue
        started = time.monotonic()
        rival = Rival(rows, fields, plain, kinds, dsp, options, a.seed, a.threads)
        late = numpy.asarray(rows.ts)[rival.request] >= cut
        early, later = numpy.flatnonzero(~late), numpy.flatnonzero(late)
        statistics, booster = rival.fit(early, options["rounds"], later)
        best, nll = booster.best_iteration + 1, booster.best_score
        first = time.monotonic() - started
        if a.no_refit:
            booster = booster[:best]
        else:
            statistics, booster = rival.fit(numpy.arange(len(rival.request)), best)
        x = numpy.concatenate([plain_test, statistics.columns(1, everything)], 1)
        types = kinds + ["q"] * (x.shape[1] - len(kinds))
        scores.append(booster.predict(xgboost.DMatrix(x, nthread=a.threads, feature_types=types), output_margin=True))
        print(f"{name}: {x.shape[1]} columns, {best} rounds, nll {nll:.5f}, {first:.0f} s, with all {time.monotonic() - started:.0f} s",
              file=sys.stderr, flush=True)
    names = [json.dumps(n) for n, column in zip(rows.meta["dsps"], scores) if column is not None]
    for row in zip(*(column.tolist() for column in scores if column is not None)):
        sys.stdout.write('{"dsps":[' + ",".join(f'{{"dsp":{n},"p":{v:.7g}}}' for n, v in zip(names, row)) + "]}\n")


if __name__ == "__main__":
    main()
