#!/usr/bin/env python3
"""Trains the published network in PyTorch from what `bidsieve encode` wrote, and saves a model that bidsieve serves.

  bidsieve encode --capture days/ --out rows
  python3 docs/pytorch_train.py rows model.safetensors --hidden 1000,500

One network for all DSPs: an embedding per feature (the DSP is one of them), numbers as they are, two hidden layers with
ReLU and dropout, a log-softmax of two (no bid, bid), negative log likelihood. docs/pytorch.md explains the format. Change
what you like: as long as the tensors keep these names and shapes, bidsieve takes the file.
"""
import argparse
import json
import math
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from torch import nn


class Rows:
    """What `bidsieve encode` wrote; the arrays stay on disk until they are used."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.meta = json.loads((self.folder / "meta.json").read_text())
        assert self.meta["format"] == "bidsieve-rows-1", self.meta["format"]
        for name in ("ts_ms", "request", "dsp", "label", "weight"):
            setattr(self, name, self.load(name))
        n = self.meta["requests"]
        self.slots = self.load("slots") if self.meta["slots"] else numpy.zeros((n, 0), numpy.uint32)
        self.numeric = self.load("numeric") if self.meta["numeric"] else numpy.zeros((n, 0), numpy.float32)

    def load(self, name):
        return numpy.load(self.folder / f"{name}.npy", mmap_mode="r")

    def batch(self, pairs):
        """Inputs of these (request, DSP) pairs: rows of tables, the DSP's index, numbers."""
        request = self.request[pairs]
        return (torch.from_numpy(self.slots[request].astype(numpy.int64)),
                torch.from_numpy(self.dsp[pairs].astype(numpy.int64)), torch.from_numpy(self.numeric[request]))


class Network(nn.Module):
    """The attributes' names are those of the tensors in the file."""

    def __init__(self, meta, hidden1, hidden2, dropout):
        super().__init__()
        self.features = [f for f in meta["features"] if f["kind"] != "number"]
        self.empty = meta["empty_slot"]
        self.embedding = nn.ParameterDict(
            {f["name"]: nn.Parameter(torch.randn(f["values"], f["dim"]) * 0.1) for f in self.features})
        self.hidden1 = nn.Linear(sum(f["dim"] for f in self.features) + meta["numeric"], hidden1)
        self.hidden2 = nn.Linear(hidden1, hidden2)
        self.output = nn.Linear(hidden2, 2)
        self.dropout = nn.Dropout(dropout)

    def embed(self, feature, slots, dsp):
        table = self.embedding[feature["name"]]
        if feature["kind"] == "dsp":
            return table[dsp + 2]  # rows 0 and 1 are "missing" and "unknown" in every table
        rows = slots[:, feature["column"]:feature["column"] + feature["columns"]]
        if feature["columns"] == 1:
            return table[rows[:, 0]]
        used = (rows != self.empty).unsqueeze(-1)
        return (table[rows.clamp(max=len(table) - 1)] * used).sum(1) / used.sum(1)

    def forward(self, slots, dsp, numeric):
        x = torch.cat([self.embed(f, slots, dsp) for f in self.features] + [numeric], dim=1)
        x = self.dropout(torch.relu(self.hidden1(x)))
        x = self.dropout(torch.relu(self.hidden2(x)))
        return torch.log_softmax(self.output(x), dim=1)


def probabilities(network, rows, pairs, negative_rate=1.0, batch=8192):
    """P(bid), with the downsampling of no-bids undone: what `bidsieve score` must print for them."""
    network.eval()
    out = []
    with torch.no_grad():
        for at in range(0, len(pairs), batch):
            logp = network(*rows.batch(pairs[at:at + batch])).double()
            out.append(torch.sigmoid(logp[:, 1] - logp[:, 0] + math.log(negative_rate)).numpy())
    return numpy.concatenate(out) if out else numpy.zeros(0)


def mean_nll(p, label, weight):
    p = numpy.clip(p, 1e-7, 1 - 1e-7)
    return float(numpy.average(-numpy.log(numpy.where(label == 1, p, 1 - p)), weights=weight))


def train(rows, options):
    torch.manual_seed(options.seed)
    random = numpy.random.default_rng(options.seed)
    hidden1, hidden2 = map(int, options.hidden.split(","))
    network = Network(rows.meta, hidden1, hidden2, options.dropout)
    time = rows.ts_ms[rows.request]
    cut = rows.meta["to_ms"] - options.validation_share * (rows.meta["to_ms"] - rows.meta["from_ms"])
    early, late = numpy.flatnonzero(time < cut), numpy.flatnonzero(time >= cut)
    label, weight = numpy.asarray(rows.label), numpy.asarray(rows.weight)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    best, best_nll = None, math.inf
    for epoch in range(options.epochs):
        network.train()
        kept = early[(label[early] == 1) | (random.random(len(early)) < options.negative_rate)]
        random.shuffle(kept)
        for at in range(0, len(kept), options.batch):
            pairs = kept[at:at + options.batch]
            logp = network(*rows.batch(pairs))
            target = torch.from_numpy(label[pairs].astype(numpy.int64))
            w = torch.from_numpy(weight[pairs])
            loss = (nn.functional.nll_loss(logp, target, reduction="none") * w).sum() / w.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        judged = late if len(late) else early
        nll = mean_nll(probabilities(network, rows, judged, options.negative_rate), label[judged], weight[judged])
        print(f"epoch {epoch + 1}: {len(kept)} calls, validation nll {nll:.5f}", flush=True)
        if nll < best_nll:
            best, best_nll = {k: v.clone() for k, v in network.state_dict().items()}, nll
    network.load_state_dict(best)
    return network


def save(network, rows, path, negative_rate=1.0):
    """The network, the vocabularies and what the file says of itself."""
    tensors = {name: t.detach().float().contiguous() for name, t in network.state_dict().items()}
    for f in rows.meta["features"]:
        if f.get("vocabulary"):
            tensors[f"vocabulary.{f['name']}"] = torch.from_numpy(numpy.array(numpy.load(rows.folder / f["vocabulary"])))
    metadata = dict(rows.meta["metadata"], negative_rate=repr(negative_rate), tool=f"PyTorch {torch.__version__}")
    save_file(tensors, path, metadata=metadata)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rows", help="folder that `bidsieve encode` wrote")
    p.add_argument("model", help="the safetensors file to write")
    p.add_argument("--hidden", default="128,64", metavar="H1,H2", help="published: 1000,500 (default %(default)s)")
    p.add_argument("--epochs", type=int, default=5)
    p.add_argument("--batch", type=int, default=512)
    p.add_argument("--dropout", type=float, default=0.1)
    p.add_argument("--learning-rate", type=float, default=1e-3)
    p.add_argument("--weight-decay", type=float, default=1e-2)
    p.add_argument("--negative-rate", type=float, default=1.0, help="share of the no-bids kept in each epoch")
    p.add_argument("--validation-share", type=float, default=0.2, help="last share of the time: picks the best epoch")
    p.add_argument("--seed", type=int, default=1)
    options = p.parse_args()
    rows = Rows(options.rows)
    network = train(rows, options)
    save(network, rows, options.model, options.negative_rate)
    print(f"{options.model}: {sum(t.numel() for t in network.parameters())} parameters")


if __name__ == "__main__":
    main()
