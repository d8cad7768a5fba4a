#!/usr/bin/env python3
"""Trainer against PyTorch at 128/64: examples/s of one core, CPU time, on the same shapes, in the same run, in turns.

  BIDSIEVE_BUILD=build/release venv/bin/python tests/bench/bench_pytorch.py [--rounds 3]

bidsieve's side is bench_train, whose network and batch are repeated here: seven features of its synthetic market and
twelve of noise, 16 DSPs, every request sent to each. PyTorch's side is what one would write: forward, backward, Adam over
minibatches of pairs drawn at random. The fastest of four ways counts: dense tables with Adam or sparse gradients for
them, and the trainer's batch or one eight times as large, which learns less a pass but costs PyTorch less.
Needs torch. Prints one JSON line.
"""
import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
import torch  # noqa: E402
from torch import nn  # noqa: E402

BUILD = Path(os.environ.get("BIDSIEVE_BUILD", Path(__file__).resolve().parents[2] / "build/release"))
DSPS, REQUESTS, HIDDEN1, HIDDEN2 = 16, 20000, 128, 64
# (values, dim, slots) as in tests/model/synthetic.h; the DSP first
FEATURES = [(18, 12, 1), (122, 12, 1), (602, 16, 1), (14, 8, 1), (28, 8, 3), (7, 4, 1), (26, 8, 1)] + [(52, 12, 1)] * 12
NUMERIC = 2


class Network(nn.Module):
    def __init__(self, sparse):
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(values, dim, mode="mean", sparse=sparse) if slots > 1 else
                                    nn.Embedding(values, dim, sparse=sparse) for values, dim, slots in FEATURES)
        self.hidden1 = nn.Linear(sum(dim for _, dim, _ in FEATURES) + NUMERIC, HIDDEN1)
        self.hidden2 = nn.Linear(HIDDEN1, HIDDEN2)
        self.output = nn.Linear(HIDDEN2, 2)

    def forward(self, columns, numeric):
        x = torch.cat([table(column) for table, column in zip(self.tables, columns)] + [numeric], 1)
        return torch.log_softmax(self.output(torch.relu(self.hidden2(torch.relu(self.hidden1(x))))), 1)


def examples_per_second(sparse, batch, steps):
    torch.manual_seed(1)
    slots = [torch.randint(2, values, (REQUESTS, n)) for values, _, n in FEATURES[1:]]
    slots = [column if column.shape[1] > 1 else column[:, 0] for column in slots]
    numeric, label = torch.randn(REQUESTS, NUMERIC), torch.randint(0, 2, (REQUESTS * DSPS,))
    network = Network(sparse)
    tables = list(network.tables.parameters())
    dense = [p for p in network.parameters() if not any(p is t for t in tables)]
    optimizers = [torch.optim.AdamW(dense + ([] if sparse else tables), fused=True)]
    if sparse:
        optimizers.append(torch.optim.SparseAdam(tables))
    order = torch.randperm(REQUESTS * DSPS)

    def step(i):
        pairs = order[i * batch % (len(order) - batch):][:batch]
        request, dsp = pairs // DSPS, pairs % DSPS
        logp = network([dsp + 2] + [column[request] for column in slots], numeric[request])
        loss = nn.functional.nll_loss(logp, label[pairs])
        for o in optimizers:
            o.zero_grad()
        loss.backward()
        for o in optimizers:
            o.step()

    for i in range(10):
        step(i)
    started = time.process_time()
    for i in range(steps):
        step(10 + i)
    return batch * steps / (time.process_time() - started)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    torch.set_num_threads(1)
    ours, theirs = [], {}
    for _ in range(a.rounds):
        bench = json.loads(subprocess.run([BUILD / "tests/bench_train"], capture_output=True, text=True, check=True).stdout)
        ours.append(bench["examples_per_second"])
        for tables in ("dense", "sparse"):
            for batch in (bench["batch"], 8 * bench["batch"]):
                speed = examples_per_second(tables == "sparse", batch, max(15, 60000 // batch))
                theirs.setdefault(f"{tables} tables, batch {batch}", []).append(speed)
    inputs = sum(dim for _, dim, _ in FEATURES) + NUMERIC
    assert inputs == bench["inputs"], f"bench_train has {bench['inputs']} inputs, this {inputs}: keep the shapes alike"
    best = max(theirs, key=lambda kind: statistics.median(theirs[kind]))
    pytorch = statistics.median(theirs[best])
    print(json.dumps({"bench": "pytorch", "hidden": bench["hidden"], "inputs": inputs, "batch": bench["batch"], "rounds": a.rounds,
                      "examples_per_second": round(statistics.median(ours)), "pytorch": round(pytorch), "pytorch_way": best,
                      "torch": torch.__version__, "ratio": round(statistics.median(ours) / pytorch, 2)}))


if __name__ == "__main__":
    main()
