"""docs/pytorch_train.py end to end: PyTorch trains from `bidsieve encode`'s rows, and bidsieve scores its file as PyTorch
does. Needs torch, safetensors and numpy in the Python that BIDSIEVE_TORCH_PYTHON names (default: this one)."""
import json
import os
import subprocess
import sys

from harness import SLOW, SOURCE, run

PYTHON = os.environ.get("BIDSIEVE_TORCH_PYTHON", sys.executable)
SCRIPT = SOURCE / "docs/pytorch_train.py"
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | {"OMP_NUM_THREADS": "1"}


def python(*arguments):
    r = subprocess.run([PYTHON, "-B", *map(str, arguments)], capture_output=True, text=True, timeout=200 * SLOW,
                       env=ENVIRONMENT)
    assert r.returncode == 0, f"{arguments}\n{r.stdout}\n{r.stderr}"
    return r.stdout


def need_torch(t):
    r = subprocess.run([PYTHON, "-c", "import numpy, safetensors.torch, torch"], capture_output=True, text=True, env=ENVIRONMENT)
    if r.returncode != 0:
        t.skip(f"{PYTHON} has no PyTorch to compare with: {r.stderr.strip().splitlines()[-1]}")


def encode_and_train(t, *options):
    capture = t.world_capture(requests=400)
    t.run("encode", "--capture", capture, "--out", t.folder / "rows")
    model = t.folder / "pytorch.safetensors"
    said = python(SCRIPT, t.folder / "rows", model, "--hidden", "24,12", "--epochs", "2", "--batch", "32",
                  "--learning-rate", "0.01", *options)
    assert "epoch 2:" in said and model.name in said, said
    return capture, model


def test_probabilities_agree(t):
    """Of the file that PyTorch wrote, on a later day that neither was trained on."""
    need_torch(t)
    for options in ([], ["--negative-rate", "0.3", "--dropout", "0.3"]):
        _, model = encode_and_train(t, *options)
        later = t.world_capture("later.ndjson", days="2:3", requests=300)
        t.run("encode", "--capture", later, "--model", model, "--out", t.folder / "later")
        ours = [d["p"] for line in t.run("score", "--model", model, stdin=later.read_text()).stdout.splitlines()
                for d in json.loads(line)["dsps"]]
        theirs = json.loads(python("-c", f"""
import json, sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
import numpy, torch, pytorch_train
from safetensors import safe_open
rows = pytorch_train.Rows({str(t.folder / "later")!r})
with safe_open({str(model)!r}, framework="pt") as f:
    tensors = {{n: f.get_tensor(n) for n in f.keys() if not n.startswith("vocabulary.")}}
    rate = float(f.metadata()["negative_rate"])
network = pytorch_train.Network(rows.meta, *tensors["hidden2.weight"].shape[::-1], 0.0)
network.load_state_dict(tensors)
p = pytorch_train.probabilities(network, rows, numpy.arange(rows.meta["pairs"]), rate)
print(json.dumps(p.tolist()))
"""))
        assert len(ours) == len(theirs) == 900
        worst = max(abs(a - b) for a, b in zip(ours, theirs))
        assert worst < 1e-5, worst
        assert max(ours) - min(ours) > 0.05, "a network that says the same of all proves nothing"


def test_it_is_a_model_like_any(t):
    need_torch(t)
    capture, model = encode_and_train(t)
    about = json.loads(t.run("inspect", "--model", model, "--json").stdout)
    assert "PyTorch" in json.dumps(about)
    report = json.loads(t.run("evaluate", "--capture", capture, "--model", model, "--json").stdout)
    assert report
    proxy = t.proxy({"broad": t.dsp(), "middle": t.dsp()}, model={"file": str(model), "max_age_hours": 0}, clock="header")
    record = json.loads(capture.read_text().splitlines()[0])
    answer = proxy.post(record["request"], {"X-Bidsieve-Time": str(record["ts"])})
    assert answer.status == 204, answer


run(globals())
