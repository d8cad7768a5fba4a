"""The commands as a shell sees them: exit statuses, one clear line on stderr, one JSON document on stdout; broken input
of every kind; and model files written by hand, scored against arithmetic done here."""
import gzip
import json
import math
import os
import random
import struct
import subprocess

from harness import BIDSIEVE, LOAD, SOURCE, WORLD, captured, one_json, records, refused, run, write

SCENARIO = SOURCE / "loadtest/scenarios/small.json"
COMMANDS = ("serve", "check", "train", "evaluate", "recalibrate", "backtest", "score", "encode", "replay", "inspect")


def test_help(t):
    r = t.run("--help")
    for command in COMMANDS:
        assert f"\n  {command} " in r.stdout
        r2 = t.run(command, "--help")
        assert r2.stdout.startswith(f"usage: bidsieve {command} ") and r2.stderr == ""
        assert max(map(len, r2.stdout.splitlines())) <= 120
    assert t.run("--version").stdout.startswith("bidsieve ")
    for command in ("serve", "config", "capture", "report", "judge"):
        assert t.run(command, "--help", binary=WORLD).stdout.startswith(f"usage: bidsieve-world {command} ")
    assert t.run("--help", binary=LOAD).stdout.startswith("usage: bidsieve-load ")


def test_training_knows_the_processor(t):
    """OpenBLAS says which one it takes this for, each time it is loaded: the last word is what counts."""
    def cores(**more):
        told = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"} | {"OPENBLAS_VERBOSE": "2"} | more
        r = subprocess.run([BIDSIEVE, "train", "--help"], env=told, capture_output=True, text=True, check=True, timeout=60)
        return [line.split(":")[1].strip() for line in r.stderr.splitlines() if line.startswith("Core:")]
    chosen = cores()
    assert not chosen or "avx2" not in open("/proc/cpuinfo").read().split() or chosen[-1] != "Prescott", chosen
    assert len(cores(OPENBLAS_CORETYPE="Prescott")) <= 1, "what the environment says stands"


def test_wrong_usage_is_2(t):
    refused(t, 2, "nope", words=["nope", "--help"])
    for arguments, word in [
            (["serve"], "--config"), (["check"], "--config"), (["train"], "--capture"), (["evaluate"], "--capture"),
            (["score"], "--model"), (["replay"], "--capture"), (["inspect"], "--model"),
            (["train", "--capture", "x"], "--out"), (["inspect", "--model"], "--model"),
            (["inspect", "--nope"], "--nope"), (["inspect", "extra"], "extra"),
            (["evaluate", "--capture", "x", "--model", "y", "--recall", "1.5"], "--recall"),
            (["evaluate", "--capture", "x", "--model", "y", "--recall", "nan"], "--recall"),
            (["evaluate", "--capture", "x", "--model", "y", "--recall", ""], "--recall"),
            (["train", "--capture", "x", "--out", "y", "--seed", "1.5"], "--seed"),
            (["train", "--capture", "x", "--out", "y", "--threads", "-1"], "--threads"),
            (["train", "--capture", "x", "--out", "y", "--hidden", "0,5"], "hidden"),
            (["train", "--capture", "x", "--out", "y", "--hidden", "12"], "hidden"),
            (["replay", "--capture", "x", "--to", "http://127.0.0.1:1/", "--rate", "0"], "--rate"),
            (["replay", "--capture", "x", "--to", "http://127.0.0.1:1/", "--rate", "5", "--speed", "2"], "not both")]:
        refused(t, 2, *arguments, words=[word])
    assert t.run(status=2).stdout == ""


def test_missing_files_are_1_and_named(t):
    missing = t.folder / "missing"
    capture = t.world_capture(requests=50, days="0:1")
    model = t.train(t.world_capture("train.ndjson", requests=600))
    for arguments in (["serve", "--config", missing], ["check", "--config", missing], ["inspect", "--model", missing],
                      ["train", "--capture", missing, "--out", t.folder / "m"],
                      ["train", "--capture", capture, "--schema", missing, "--out", t.folder / "m"],
                      ["train", "--capture", capture, "--geo", missing, "--out", t.folder / "m"],
                      ["evaluate", "--capture", missing, "--model", model],
                      ["evaluate", "--capture", capture, "--model", missing],
                      ["score", "--model", missing], ["score", "--model", model, "--geo", missing],
                      ["replay", "--capture", missing, "--to", "http://127.0.0.1:1/"]):
        refused(t, 1, *arguments, words=[missing, "No such file"], stdin="")
    assert not (t.folder / "m").exists()
    # A folder where a file should be, a folder without captures, a place that cannot be written.
    empty = t.folder / "empty"
    empty.mkdir()
    for arguments in (["inspect", "--model", empty], ["check", "--config", empty],
                      ["train", "--capture", empty, "--out", t.folder / "m"]):
        refused(t, 1, *arguments, words=[empty])
    refused(t, 1, "train", "--capture", t.folder / "train.ndjson", "--epochs", 1, "--hidden", "8,4", "--out",
            t.folder / "no-such-folder/m", words=["no-such-folder"])
    refused(t, 1, "replay", "--capture", capture, "--to", "gopher://x/", words=["gopher"])


def test_captures_that_cannot_be_learnt_from(t):
    good = records(t.world_capture(requests=600))
    out = t.folder / "m"

    def with_outcome(outcome):
        changed = json.loads(json.dumps(good))
        for r in changed:
            for d in r["dsps"]:
                d["outcome"] = outcome
        return changed
    cases = {"empty": [], "blank": ["", ""], "no_bids": with_outcome("no_bid"), "all_bids": with_outcome("bid"),
             "no_labels": with_outcome("timeout"), "no_dsps": [dict(r, dsps=[]) for r in good],
             "one": good[:1], "one_moment": [dict(r, ts=good[0]["ts"]) for r in good],
             "garbage": ["not json", "{", "[]", '{"v":2}', "\0\0"]}
    for name, content in cases.items():
        path = write(t.folder / f"{name}.ndjson", content)
        r = subprocess.run([BIDSIEVE, "train", "--capture", path, "--out", out, "--epochs", "1", "--hidden", "8,4"],
                           capture_output=True, text=True, timeout=120)
        assert r.returncode in (0, 1), (name, r)
        if r.returncode == 0:  # what can be trained on however poorly must at least load
            assert name == "one_moment", (name, r)
            t.run("inspect", "--model", out)
        else:
            assert r.stderr.splitlines()[-1].startswith("bidsieve train: "), (name, r)
            assert not out.exists()


def test_reports_of_odd_captures(t):
    """One JSON document whatever there is to report: no bid in the later slice, quotes in a file's name."""
    good = records(t.world_capture(requests=600))
    late = json.loads(json.dumps(good))
    for r in late[len(late) // 2:]:
        for d in r["dsps"]:
            d["outcome"] = "no_bid"
    capture, model, rows = write(t.folder / "late.ndjson", late), t.folder / 'a "quoted\\" model', t.folder / 'ro"ws'
    small = ["--epochs", 1, "--hidden", "8,4", "--json"]
    report = one_json(t.run("train", "--capture", capture, "--out", model, *small).stdout)
    assert report["model"] == str(model) and report["validation_auc"] is None and report["validation_nll"] >= 0
    assert one_json(t.run("encode", "--capture", capture, "--out", rows, "--json").stdout)["out"] == str(rows)
    for name, content, words in (("none", [], "no record"), ("unsound", ["[]"], "no sound record")):
        path = write(t.folder / f"{name}.ndjson", content)
        for arguments in (["evaluate", "--model", model], ["evaluate", "--model", model, "--by", "country", "--json"]):
            r = t.run(*arguments, "--capture", path, status=1)
            assert r.stdout == "" and r.stderr.splitlines()[-1].startswith(f"bidsieve evaluate: {words}"), r


def test_architectures(t):
    """What --arch and --linear make is in the file, loads, scores and is judged like any other."""
    capture = t.world_capture(requests=600)
    small = ["train", "--capture", capture, "--epochs", 1, "--hidden", "8,4", "--json", "--out"]
    tensors, reports = {}, {}
    for name, options in (("full", []), ("mlp", ["--arch", "mlp"]), ("linear", ["--arch", "linear"]), ("flag", ["--linear"])):
        model = t.folder / name
        reports[name] = one_json(t.run(*small, model, *options).stdout)
        data = model.read_bytes()
        tensors[name] = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
        verdicts = t.run("score", "--model", model, stdin=capture.read_text()).stdout.splitlines()
        assert all(0 <= d["p"] <= 1 for line in verdicts for d in json.loads(line)["dsps"])
    assert {"gate.dsp", "conjunctions.rate"} <= set(tensors["full"])
    assert not any(n.startswith(("gate.", "wide.", "conjunction")) for n in tensors["mlp"])
    assert tensors["linear"]["hidden1.weight"]["shape"][0] == 1 and "wide.domain" in tensors["linear"]
    assert (t.folder / "linear").read_bytes() == (t.folder / "flag").read_bytes()
    # The linear model beside each of them, for who reads the report.
    assert all(0 <= reports[n]["withheld_at_recall_linear"] <= 1 for n in ("full", "mlp")), reports
    refused(t, 2, *small, t.folder / "m", "--arch", "resnet", words=["--arch", "mlp", "resnet"])


def test_logs_with_usual_mistakes(t):
    """What converters get wrong is said, and does not end up in a model."""
    good = records(t.world_capture(requests=600))
    def train(name, content, *arguments, status=0):
        path = write(t.folder / f"{name}.ndjson", content)
        r = t.run("train", "--capture", path, "--out", t.folder / name, "--epochs", 1, "--hidden", "8,4", *arguments, status=status)
        return r, t.folder / name
    seconds = [dict(r, ts=r["ts"] // 1000) for r in good]
    r, model = train("seconds", seconds, status=1)
    assert "seconds.ndjson:1: ts: " in r.stderr and "is it in seconds?" in r.stderr and not model.exists(), r.stderr
    r, model = train("micros", [dict(r, ts=r["ts"] * 1000) for r in good], status=1)
    assert "in milliseconds" in r.stderr, r.stderr
    r, model = train("timeouts", [dict(r, dsps=[dict(d, outcome="timeout") for d in r["dsps"]]) for r in good], status=1)
    calls = sum(len(r["dsps"]) for r in good)
    assert f"{len(good)} records with {calls} calls" in r.stderr and f"{calls} have no outcome of bid or no_bid" in r.stderr
    once, model = train("once", good)
    thrice, again = train("thrice", good + good[::-1] + good)
    assert model.read_bytes() == again.read_bytes(), "a bid counted twice would prove twice as much"
    assert f"left out {2 * len(good)} records that repeat another" in thrice.stderr and once.stderr == ""
    assert f"learnt from {len(good)} requests, {calls} calls" in thrice.stdout
    r, _ = train("few", good[:40] + good[-40:])
    assert "3 of 3 DSPs are not filtered and get every call" in r.stdout, r.stdout
    r, _ = train("short", [dict(r, ts=good[0]["ts"] + i * 1000) for i, r in enumerate(good)])
    assert "cover 0." in r.stdout, r.stdout
    r, _ = train("json", good, "--json")
    assert one_json(r.stdout)["dsps"] == 3 and one_json(r.stdout)["dsps_unproven"] <= 3
    # a weight beyond all measure; and a judgement of what was learnt from says so
    odd = write(t.folder / "odd.ndjson", [dict(r, dsps=[dict(d, propensity=1e-300) for d in r["dsps"]]) for r in good])
    e = t.run("evaluate", "--capture", odd, "--model", model)
    assert "nan" not in e.stdout and "inf" not in e.stdout, e.stdout
    assert f"{len(good)} of {len(good)} records are of the time that the model was trained or calibrated on" in e.stdout
    assert one_json(t.run("evaluate", "--capture", odd, "--model", model, "--json").stdout)["records_of_training_window"] == len(good)


def test_what_features_contribute(t):
    capture = t.world_capture(requests=600)
    options = ["train", "--capture", capture, "--epochs", 1, "--hidden", "8,4", "--ablate", "--out"]
    r = t.run(*options, t.folder / "a")
    table = [line.split() for line in r.stdout[r.stdout.index("what each feature contributes"):].splitlines()[3:]]
    document = one_json(t.run(*options, t.folder / "b", "--json").stdout)
    features = [f["feature"] for f in document["importance"]]
    losses = [f["withheld_loss"] for f in document["importance"]]
    assert [row[0] for row in table] == features and all(len(row) == 3 for row in table), r.stdout
    assert losses == sorted(losses, reverse=True) and all(math.isfinite(f["nll_loss"]) for f in document["importance"])
    schema = json.loads((SOURCE / "config/features.json").read_text())["features"]
    assert sorted(features) == sorted(f["name"] for f in schema if f["source"] != "dsp")
    t.run(*options[:-2], "--out", t.folder / "c")
    assert (t.folder / "a").read_bytes() == (t.folder / "b").read_bytes() == (t.folder / "c").read_bytes()


def test_warm_start(t):
    captured = records(t.world_capture(days="0:2", requests=600))
    early, late = write(t.folder / "early.ndjson", captured[:600]), write(t.folder / "late.ndjson", captured)
    old = t.train(early, "old")
    before = old.read_bytes()
    r = t.run("train", "--capture", late, "--out", t.folder / "new", "--hidden", "16,8", "--epochs", 1, "--warm", old, "--json")
    assert one_json(r.stdout)["epochs"] == 1 and old.read_bytes() == before
    t.run("train", "--capture", late, "--out", t.folder / "cold", "--hidden", "16,8", "--epochs", 1)
    assert (t.folder / "new").read_bytes() != (t.folder / "cold").read_bytes()
    t.run("evaluate", "--capture", late, "--model", t.folder / "new")
    missing = t.folder / "missing"
    refused(t, 1, "train", "--capture", late, "--out", t.folder / "m", "--warm", missing, words=[missing])
    refused(t, 1, "train", "--capture", late, "--out", t.folder / "m", "--warm", late, words=["late.ndjson"])
    refused(t, 1, "train", "--capture", late, "--out", t.folder / "m", "--warm", old, words=["hidden layers are 16,8"])
    refused(t, 1, "train", "--capture", early, "--out", t.folder / "m", "--hidden", "16,8", "--warm", old,
            words=["nothing is left to judge by"])
    schema = json.loads((SOURCE / "config/features.json").read_text())
    schema["features"][2]["dim"] = 9
    other = write(t.folder / "schema.json", [schema])
    refused(t, 1, "train", "--capture", late, "--out", t.folder / "m", "--schema", other, "--hidden", "16,8", "--warm", old,
            words=["feature region: dim is 8 in the model, 9 in the schema"])
    assert not (t.folder / "m").exists()


def test_garbage_lines_are_named_and_left_out(t):
    good = t.world_capture(requests=600).read_text().splitlines()
    lines = good[:100] + ["not json"] + good[100:200] + ['{"ts":1,"request":[],"dsps":[]}', ""] + good[200:] + [good[0][:300]]
    path = t.folder / "dirty.ndjson"
    path.write_text("\n".join(lines))  # the last one torn, as a crash leaves it
    clean = t.folder / "clean.ndjson"
    clean.write_text("\n".join(good) + "\n")
    r = t.run("train", "--capture", path, "--out", t.folder / "dirty", "--epochs", 1, "--hidden", "8,4")
    assert "left out 2 records" in r.stderr and "dirty.ndjson:101" in r.stderr, r.stderr
    t.run("train", "--capture", clean, "--out", t.folder / "clean", "--epochs", 1, "--hidden", "8,4")
    dirty, clean = (json.loads(t.run("inspect", "--model", t.folder / name, "--json").stdout) for name in ("dirty", "clean"))
    assert dirty["training"]["train_pairs"] == clean["training"]["train_pairs"]


def test_same_seed_same_bytes(t):
    """A model with conjunctions and all, for one thread and for two; another seed is another model."""
    capture = t.world_capture(requests=1500)
    for threads in (2, 1):
        one, two, other = (t.train(capture, name, "--seed", seed, "--threads", threads).read_bytes() for name, seed in
                           (("a", 1), ("b", 1), ("c", 2)))
        assert b"conjunctions.rate" in one
        assert one == two, threads
        assert one != other, threads
    packed = t.folder / "packed"
    packed.mkdir()
    (packed / "x.ndjson.gz").write_bytes(gzip.compress(capture.read_bytes()))
    assert t.train(packed, "d", "--seed", 1).read_bytes() == one


def test_json_is_one_document(t):
    capture = t.world_capture(requests=600)
    model = t.train(capture)
    dsp = t.dsp()
    proxy = t.proxy({"broad": dsp}, clock="header")
    url = f"http://127.0.0.1:{proxy.port}/openrtb2/auction"
    few = write(t.folder / "few.ndjson", records(capture)[:50])
    for binary, arguments in [
            (BIDSIEVE, ["train", "--capture", capture, "--out", t.folder / "m2", "--epochs", 1, "--hidden", "8,4"]),
            (BIDSIEVE, ["evaluate", "--capture", capture, "--model", model]), (BIDSIEVE, ["inspect", "--model", model]),
            (BIDSIEVE, ["replay", "--capture", few, "--to", url, "--rate", 500]),
            (LOAD, ["--to", url, "--file", few, "--rate", "max"]),
            (WORLD, ["report", "--scenario", SCENARIO, "--capture", capture])]:
        r = t.run(*arguments, "--json", binary=binary)
        assert isinstance(one_json(r.stdout), dict) and r.stderr == "", (arguments, r.stderr)
    assert len(dsp.requests) >= 100


def test_replay_to_nobody_fails(t):
    few = write(t.folder / "few.ndjson", records(t.world_capture(requests=20, days="0:1")))
    r = subprocess.run([BIDSIEVE, "replay", "--capture", few, "--to", "http://127.0.0.1:1/", "--rate", "1000"],
                       capture_output=True, text=True, timeout=120)
    assert r.returncode == 1 and r.stderr.count("\n") == 1 and r.stderr.startswith("bidsieve replay: "), r


def test_judge(t):
    """Scores against the world's truth: any line of numbers will do, so what is known can be checked."""
    capture = t.world_capture("judged.ndjson", requests=400, days="1:2")
    model = t.train(t.world_capture(requests=600))

    def judge(lines, *more, status=0):
        r = t.run("judge", "--scenario", SCENARIO, "--capture", capture, "--scores", "-", "--json", *more,
                  stdin="".join(line + "\n" for line in lines), binary=WORLD, status=status)
        return one_json(r.stdout) if status == 0 else r.stderr

    lines = t.run("score", "--model", model, stdin=capture.read_text()).stdout.splitlines()
    ours = judge(lines)
    assert ours["requests"] == 400 and ours["strangers"] == 0 and ours["total"]["calls"] == 1200
    assert ours["total"]["withheld"] > 0
    for row in ours["dsps"] + [ours["total"]]:  # of a DSP with three bids the model knows next to nothing
        assert 0 <= row["withheld"] < row["optimal_withheld"] and row["unscored"] == 0
        assert abs(row["ratio"] - row["withheld"] / row["optimal_withheld"]) < 1e-6
    verdicts = [json.loads(line) for line in lines]
    sent = sum(d["send"] for v in verdicts for d in v["dsps"])
    assert abs(ours["total"]["as_sent"]["withheld"] - (1 - sent / 1200)) < 1e-6
    assert judge(lines, "--recall", "0.5")["total"]["withheld"] > ours["total"]["withheld"]

    # The order counts, not the scale; and nothing but the order.
    for v in verdicts:
        for d in v["dsps"]:
            d["p"] = math.log(d["p"])
    assert judge(map(json.dumps, verdicts))["total"]["withheld"] == ours["total"]["withheld"]
    same = judge([json.dumps({"dsps": [{"dsp": d["dsp"], "p": 1} for d in v["dsps"]]}) for v in verdicts])
    assert 0.02 < same["total"]["withheld"] < 0.04 and same["total"]["as_sent"]["withheld"] == 0
    none = judge(['{"dsps":[{"dsp":"stranger","p":0.5}]}'] * 400)
    assert none["total"]["unscored"] == 1200 and none["strangers"] == 400 and none["total"]["as_sent"]["recall"] == 1

    assert "ends after 399 lines" in judge(lines[:-1], status=1)
    assert "more lines" in judge(lines + lines[:1], status=1)
    for bad, word in (("{", "not JSON"), ("{}", "dsps"), ('{"dsps":[{"p":1}]}', "dsp must be"), (lines[1], "auction"),
                      ('{"dsps":[{"dsp":"broad","p":"x"}]}', ".p must be"),
                      ('{"dsps":[{"dsp":"broad","p":1},{"dsp":"broad","p":1}]}', "twice")):
        fault = judge([bad] + lines[1:], status=1)
        assert fault.startswith("bidsieve-world judge: standard input:1: ") and word in fault, fault
        assert fault.count("\n") == 1


def test_score(t):
    capture = t.world_capture(requests=600)
    model = t.train(capture)
    some = capture.read_text().splitlines()[:40]
    r = t.run("score", "--model", model, stdin="\n".join(some) + "\n")
    lines = [json.loads(line) for line in r.stdout.splitlines()]
    assert [line["auction"] for line in lines] == [json.loads(s)["auction"] for s in some] and r.stderr == ""
    for line in lines:
        assert [d["dsp"] for d in line["dsps"]] == ["broad", "middle", "narrow"]
        for d in line["dsps"]:
            assert set(d) == {"dsp", "p", "threshold", "send", "not_filtered"} and 0 < d["p"] < 1
            assert d["send"] == (d["p"] >= d["threshold"])
            assert (d["threshold"] == 0) == (d["not_filtered"] == "too few bids to prove a threshold")
    # No DSPs: all of the model. One it does not know: the filter fails open.
    record = json.loads(some[0])
    r = t.run("score", "--model", model, stdin=json.dumps(dict(record, dsps=[])))
    assert json.loads(r.stdout) == lines[0]
    r = t.run("score", "--model", model, stdin=json.dumps(dict(record, dsps=[{"dsp": "new", "sent": False}])))
    assert json.loads(r.stdout)["dsps"] == [{"dsp": "new", "p": None, "threshold": None, "send": True,
                                                "not_filtered": "the model does not know it"}]
    # A line that is no record is named, the others are scored, and the exit status tells.
    r = t.run("score", "--model", model, stdin="\n".join([some[0], "nonsense", some[1]]) + "\n", status=1)
    assert [json.loads(line) for line in r.stdout.splitlines()] == lines[:2] and ":2" in r.stderr, r.stderr
    assert t.run("score", "--model", model, stdin="").stdout == ""
    # So is a request that is none.
    record["request"].pop("imp")
    r = t.run("score", "--model", model, stdin=f"{some[0]}\n{json.dumps(record)}\n", status=1)
    assert "standard input:2: request.imp: " in r.stderr, r.stderr


def test_output_that_does_not_arrive_is_1(t):
    """A full disk: nobody must take half a result for a whole one."""
    capture = t.world_capture(requests=300)
    model = t.train(capture)
    for arguments in (["score", "--model", model], ["inspect", "--model", model], ["inspect", "--model", model, "--json"],
                      ["evaluate", "--capture", capture, "--model", model, "--json"], ["check", "--help-config"]):
        with open("/dev/full", "w") as full, open(capture) as records:
            r = subprocess.run([BIDSIEVE, *arguments], stdin=records, stdout=full, stderr=subprocess.PIPE, text=True)
        assert r.returncode == 1 and "standard output" in r.stderr and r.stderr.count("\n") == 1, (arguments, r)


def test_check_finds_what_a_reload_would(t):
    """What is to be written is asked for, not made."""
    proxy = t.proxy({"alpha": t.dsp()})
    good = json.dumps(proxy.config)
    file = t.folder / "a-file"
    file.write_text("")
    for key, value in [("log", {"access_file": str(t.folder / "absent/access.log")}), ("log", {"access_file": str(t.folder)}),
                       ("capture", {"directory": str(file)}), ("capture", {"directory": str(file / "below")}),
                       ("capture", {"directory": "a-file/below"})]:
        proxy.config = json.loads(good) | {key: value}
        proxy.write()
        place = f"{key}.{next(iter(value))}: "
        refused(t, 1, "check", "--config", proxy.path, words=[place])
        answer = proxy.admin("POST", "/reload")
        assert answer.status == 422 and place in answer.json["error"], answer
    proxy.config = json.loads(good) | {"log": {"access_file": "access.log"}, "capture": {"directory": "new/capture"}}
    proxy.write()
    t.run("check", "--config", proxy.path)
    assert not (t.folder / "access.log").exists() and not (t.folder / "new").exists()
    assert proxy.admin("POST", "/reload").status == 200
    assert (t.folder / "access.log").exists() and (t.folder / "new/capture").is_dir()
    t.run("check", "--config", proxy.path)


# ---- broken models ----

def test_broken_models_are_refused(t):
    """Cut or flipped anywhere: one clear line from every command that loads it, and never a crash."""
    model = t.train(t.world_capture(requests=600)).read_bytes()
    rng = random.Random(1)
    header = struct.unpack("<Q", model[:8])[0]
    broken = t.folder / "broken.safetensors"
    cuts = [0, 1, 7, 8, 9, 8 + header - 1, 8 + header, 8 + header + 1, len(model) - 1] + \
        [rng.randrange(len(model)) for _ in range(8)]
    variants = [("cut at", n, model[:n]) for n in cuts]
    for at in [0, 4, 7, 8, 9] + [rng.randrange(8, 8 + header) for _ in range(10)] + \
            [rng.randrange(8 + header, len(model)) for _ in range(10)]:
        flipped = bytearray(model)
        flipped[at] ^= 1 << rng.randrange(8)
        variants.append(("flipped at", at, bytes(flipped)))
    variants.append(("longer by", 8, model + b"\0" * 8))
    for what, at, content in variants:
        broken.write_bytes(content)
        r = subprocess.run([BIDSIEVE, "inspect", "--model", broken], capture_output=True, text=True, timeout=60)
        assert r.returncode == 1 and r.stdout == "" and r.stderr.count("\n") == 1, (what, at, r)
        assert str(broken) in r.stderr, (what, at, r.stderr)
    for command in (["score"], ["evaluate", "--capture", t.folder / "world.ndjson"]):
        refused(t, 1, *command, "--model", broken, words=[broken], stdin="")
    proxy = t.proxy({}, start=False, model={"file": str(broken)})
    refused(t, 1, "check", "--config", proxy.path, words=["model", broken.name])


def altered_tensors(name, head):
    """Ways to tell a lie about one tensor in the header: what it is called, and the header with it."""
    tensor, others = head[name], {n: v for n, v in head.items() if n != name}
    shape, offsets = tensor["shape"], tensor["data_offsets"]
    for dtype in ("F32", "I32", "U8", "F16", "X"):
        if dtype != tensor["dtype"]:
            yield f"dtype {dtype}", {**head, name: {**tensor, "dtype": dtype}}
    for other in (shape[::-1], [math.prod(shape)], shape + [1], [1] + shape, [n + 1 for n in shape], [0], []):
        if other != shape:
            yield f"shape {other}", {**head, name: {**tensor, "shape": other}}
    for by in ([4, 4], [-4, -4], [0, 4], [4, 0], [0, -1], [1 << 62, 1 << 62]):
        yield f"offsets moved by {by}", {**head, name: {**tensor, "data_offsets": [o + b for o, b in zip(offsets, by)]}}
    yield "another name", {**others, "x" + name: tensor}
    yield "no name", {**others, "": tensor}
    yield "missing", others
    yield "a lacking key", {**head, name: {k: v for k, v in tensor.items() if k != "dtype"}}
    yield "a key too many", {**head, name: {**tensor, "stride": 1}}
    yield "not an object", {**head, name: "F32"}
    yield "another beside it", {**head, name + "2": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
    like = [n for n, v in others.items() if n != "__metadata__" and v["shape"] == shape and v["dtype"] == tensor["dtype"]]
    if like:  # two of a kind, which nothing but a checksum tells apart
        yield f"exchanged with {like[-1]}", {**head, name: head[like[-1]], like[-1]: tensor}


def altered_metadata(key, head):
    metadata = head["__metadata__"]
    others = {k: v for k, v in metadata.items() if k != key}
    for value in (metadata[key] + " ", metadata[key][:-1], "", "null", "x", 1, None, {}):
        yield f"value {value!r:.20}", {**head, "__metadata__": {**others, key: value}}
    if "checksum" not in key:  # without a checksum the rest is as it was
        yield "another name", {**head, "__metadata__": {**others, "x" + key: metadata[key]}}
        yield "missing", {**head, "__metadata__": others}


def test_a_header_with_a_lie_in_it_is_refused(t):
    """A model as `train` writes it by default, with every entry of its header altered in every way that is still JSON."""
    model = t.train(t.world_capture(requests=600)).read_bytes()
    length = struct.unpack("<Q", model[:8])[0]
    head, data = json.loads(model[8:8 + length]), model[8 + length:]
    assert {"conjunctions.rate", "conjunctions.dsp", "conjunction.domain", "calibration.dsp", "golden.p"} <= set(head)
    broken = t.folder / "broken.safetensors"

    def is_refused(what, text, pad=8):
        text = text.encode()
        text += b" " * (-len(text) % pad)
        broken.write_bytes(struct.pack("<Q", len(text)) + text + data)
        r = subprocess.run([BIDSIEVE, "inspect", "--model", broken], capture_output=True, text=True, timeout=60)
        assert r.returncode == 1 and r.stdout == "" and r.stderr.count("\n") == 1, (what, r)
        assert str(broken) in r.stderr, (what, r.stderr)
        assert any(w in r.stderr for w in ("header byte", "tensor", "metadata", "format", "checksum")), (what, r.stderr)

    rng = random.Random(2)
    for name in head:
        if name == "__metadata__":
            altered = [(f"{key}: {what}", h) for key in head[name] for what, h in altered_metadata(key, head)]
        else:
            altered = list(altered_tensors(name, head))
        if name.startswith(("embedding.", "conjunction.", "vocabulary.")):
            altered = rng.sample(altered, 2)  # there are many of a kind
        for what, other in altered:
            is_refused(f"{name}: {what}", json.dumps(other))
    whole = json.dumps(head)
    for name in ("hidden1.bias", "golden.p", "conjunctions.rate"):
        is_refused(f"{name} twice", f'{whole[:-1]}, "{name}": {json.dumps(head[name])}}}')
    is_refused("metadata twice", f'{whole[:-1]}, "__metadata__": {{}}}}')
    is_refused("a key twice", whole.replace('"__metadata__": {', '"__metadata__": {"format": "bidsieve-1", '))
    is_refused("data that is not aligned", whole + " " * (-len(whole) % 8 + 2), pad=1)


def test_a_model_rewritten_by_the_safetensors_library_loads(t):
    """It puts tensors in an order of its own, wide dtypes first, then by name: so do we, and the checksum holds."""
    model = t.train(t.world_capture(requests=600))
    data = model.read_bytes()
    header = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + header])
    metadata, tensors = head.pop("__metadata__"), head
    width = ["F32", "I32", "U8"].index
    rewritten, offset = {}, 0
    for name in sorted(tensors, key=lambda n: (width(tensors[n]["dtype"]), n)):
        begin, end = tensors[name]["data_offsets"]
        assert begin == offset, (name, begin, offset)
        rewritten[name], offset = tensors[name], end
    metadata["note"] = "read and written again"
    text = json.dumps({**dict(reversed(rewritten.items())), "__metadata__": dict(reversed(metadata.items()))}).encode()
    text += b" " * (-len(text) % 8)  # as the library does
    again = t.folder / "again.safetensors"
    again.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + header:])
    record = (t.folder / "world.ndjson").read_text().splitlines()[0]
    assert t.run("score", "--model", again, stdin=record).stdout == t.run("score", "--model", model, stdin=record).stdout
    # Changed weights: what was trained is no longer what is computed, and the golden inputs tell.
    begin = 8 + header + tensors["output.bias"]["data_offsets"][0]
    weights = data[8 + header:begin] + struct.pack("<f", 3.5) + data[begin + 4:]
    del metadata["checksum"]
    text = json.dumps({"__metadata__": metadata, **tensors}).encode()
    text += b" " * (-len(text) % 8)
    again.write_bytes(struct.pack("<Q", len(text)) + text + weights)
    refused(t, 1, "inspect", "--model", again, words=["golden input"])


# ---- model files from elsewhere: the published architecture's tensors and nothing else ----

class Model:
    """A network of random weights in PyTorch's orientation, written without any library, and its arithmetic."""
    DSPS = ["alpha", "bravo", "charlie"]
    SCHEMA = [{"name": "channel", "source": "channel", "dim": 3}, {"name": "dsp", "source": "dsp", "dim": 4},
              {"name": "domain", "source": "property.domain", "dim": 5},
              {"name": "floor", "source": "imp.floor", "type": "number", "mean": 0.4, "std": 0.7},
              {"name": "size", "source": "imp.size", "dim": 2, "slots": 3},
              {"name": "segments", "source": "user.segments", "type": "number"}]
    VOCABULARIES = {"channel": ["site", "app"], "domain": ["a.example", "b.example"], "size": ["300x250", "320x50", "1x1"]}
    H1, H2 = 7, 5

    def __init__(self, seed):
        rng = random.Random(seed)
        self.tensors = {}
        inputs = 0
        for f in self.SCHEMA:
            if f.get("type") == "number":
                inputs += 2
                continue
            rows = 2 + len(self.DSPS if f["name"] == "dsp" else self.VOCABULARIES[f["name"]])
            inputs += f["dim"]
            self.add(rng, f"embedding.{f['name']}", rows, f["dim"])
        self.add(rng, "hidden1.weight", self.H1, inputs)
        self.add(rng, "hidden1.bias", self.H1)
        self.add(rng, "hidden2.weight", self.H2, self.H1)
        self.add(rng, "hidden2.bias", self.H2)
        self.add(rng, "output.weight", 2, self.H2)
        self.add(rng, "output.bias", 2)
        self.metadata = {"schema": json.dumps({"features": self.SCHEMA}), "dsps": json.dumps(self.DSPS)}

    def add(self, rng, name, *shape):
        n = math.prod(shape)
        values = struct.unpack(f"<{n}f", struct.pack(f"<{n}f", *(rng.uniform(-1, 1) for _ in range(n))))
        width = shape[-1]
        self.tensors[name] = (shape, [values[i:i + width] for i in range(0, n, width)] if len(shape) == 2 else values)

    def bytes(self):
        header, data = {"__metadata__": self.metadata}, b""
        parts = [(name, "F32", shape, b"".join(struct.pack(f"<{len(row)}f", *row) for row in
                                               (rows if len(shape) == 2 else [rows])))
                 for name, (shape, rows) in self.tensors.items()]
        parts += [(f"vocabulary.{name}", "U8", (len(text),), text) for name, text in
                  ((name, b"".join(v.encode() + b"\0" for v in values)) for name, values in self.VOCABULARIES.items())]
        for name, dtype, shape, raw in parts:
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
            data += raw
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + data

    def layer(self, name, x):
        weight, bias = self.tensors[f"{name}.weight"][1], self.tensors[f"{name}.bias"][1]
        return [sum(w * v for w, v in zip(row, x)) + b for row, b in zip(weight, bias)]

    def p(self, dsp, channel, domain, sizes, floor, segments, negative_rate=1.0):
        values = {"channel": [channel], "domain": [domain], "size": sizes}
        x, numbers = [], []
        for f in self.SCHEMA:
            name = f["name"]
            if f.get("type") == "number":
                number = {"floor": floor, "segments": segments}[name]
                numbers.append((0.0, 1.0) if number is None else
                               (max(-5.0, min(5.0, (number - f.get("mean", 0)) / f.get("std", 1))), 0.0))
                continue
            table = self.tensors[f"embedding.{name}"][1]
            if name == "dsp":
                rows = [table[2 + self.DSPS.index(dsp)]]
            else:
                vocabulary = self.VOCABULARIES[name]
                rows = [table[0 if v is None else 2 + vocabulary.index(v) if v in vocabulary else 1] for v in values[name]]
            x += [sum(column) / len(rows) for column in zip(*rows)]
        x += [value for value, _ in numbers] + [missing for _, missing in numbers]
        h = [max(0.0, v) for v in self.layer("hidden1", x)]
        h = [max(0.0, v) for v in self.layer("hidden2", h)]
        no, yes = self.layer("output", h)
        slope, intercept = self.tensors.get("calibration.dsp", (None, [(1, 0)] * 3))[1][self.DSPS.index(dsp)]
        return 1 / (1 + math.exp(-(slope * (yes - no + math.log(negative_rate)) + intercept)))


# A request, and the features it has.
HAND_MADE = [
    ({"imp": [{"id": "1", "banner": {"w": 300, "h": 250}, "bidfloor": 1.5}], "site": {"domain": "a.example"}},
     ("site", "a.example", ["300x250"], math.log(2.5), None)),
    ({"imp": [{"id": "1", "banner": {"format": [{"w": 300, "h": 250}, {"w": 320, "h": 50}]}, "bidfloor": 0.01}],
      "app": {"bundle": "b.example"}}, ("app", "b.example", ["300x250", "320x50"], math.log(1.01), None)),
    ({"imp": [{"id": "1", "banner": {"w": 9, "h": 9}, "bidfloor": 1e6}], "site": {"domain": "never.seen"}},
     ("site", "never.seen", ["9x9"], math.log(1 + 1e6), None)),
    ({"imp": [{"id": "1", "video": {"mimes": ["video/mp4"]}, "bidfloor": 2}], "site": {"domain": "www.b.example"},
      "user": {"data": [{"segment": [{"id": "1"}, {"id": "2"}]}]}},
     ("site", "b.example", [None], math.log(3), math.log(3))),
]


def capture_lines(dsps):
    return "".join(json.dumps({"ts": 1763760000000, "request": {"id": str(i), **request},
                               "dsps": [{"dsp": d, "sent": False} for d in dsps]}) + "\n"
                   for i, (request, _) in enumerate(HAND_MADE))


def scores(t, path):
    r = t.run("score", "--model", path, stdin=capture_lines(Model.DSPS))
    return [{d["dsp"]: d for d in json.loads(line)["dsps"]} for line in r.stdout.splitlines()]


def test_a_model_written_by_hand_scores_as_arithmetic_says(t):
    path = t.folder / "hand.safetensors"
    for seed, rate in ((1, None), (2, 0.25), (3, 1.0)):
        model = Model(seed)
        if rate is not None:
            model.metadata["negative_rate"] = json.dumps(rate)
        if seed == 3:
            model.tensors["calibration.dsp"] = ((3, 2), [(1.5, -0.5), (1, 0), (0.25, 1)])
        path.write_bytes(model.bytes())
        for line, (_, features) in zip(scores(t, path), HAND_MADE):
            for dsp in Model.DSPS:
                expected = model.p(dsp, *features, negative_rate=rate or 1.0)
                if features[4] is None:  # absent segments: none, or not known?
                    also = model.p(dsp, *features[:4], 0.0, negative_rate=rate or 1.0)
                else:
                    also = expected
                got = line[dsp]
                assert min(abs(got["p"] - expected), abs(got["p"] - also)) < 2e-5, (seed, dsp, got, expected, also)
                assert got["send"], "no curve, no threshold: sent"
    document = one_json(t.run("inspect", "--model", path, "--json").stdout)
    assert document["dsps"] == Model.DSPS, document


def test_kernels_by_name(t):
    """What serves a model is said, can be chosen, and does not change what is decided."""
    capture, model = t.world_capture(requests=600), t.folder / "kernels.safetensors"
    t.run("train", "--capture", capture, "--out", model, "--epochs", "1", "--hidden", "64,64")
    def run(kernel, *arguments, **more):
        r = subprocess.run([BIDSIEVE, *map(str, arguments)], capture_output=True, text=True, timeout=120,
                           env=dict(os.environ, BIDSIEVE_KERNEL=kernel), **more)
        assert r.returncode == 0, r
        return r
    lines, ps = "\n".join(open(capture).read().splitlines()[:50]) + "\n", {}
    for kernel in ("c", "int8-c"):
        served = json.loads(run(kernel, "inspect", "--model", model, "--json").stdout)["served"]
        assert served["kernel"] == kernel, served
        assert all(served["bytes"][part] > 0 for part in ("rows", "layers", "scratch")), served
        text = run(kernel, "inspect", "--model", model).stdout
        assert "served by" in text and f"kernel {kernel}, " in text and "KB a thread" in text, text
        out = run(kernel, "score", "--model", model, input=lines).stdout
        ps[kernel] = [d["p"] for line in out.splitlines() for d in json.loads(line)["dsps"]]
    assert max(abs(a - b) for a, b in zip(ps["c"], ps["int8-c"])) < 0.02 and ps["c"] != ps["int8-c"]
    assert len(ps["c"]) == len(ps["int8-c"]) > 50
    unknown = run("int9-c", "inspect", "--model", model)
    assert unknown.stderr.count("\n") == 1, unknown.stderr
    assert "BIDSIEVE_KERNEL" in unknown.stderr and "int9-c" in unknown.stderr and "int8-c" in unknown.stderr


def test_a_curve_sets_the_threshold(t):
    """The highest threshold whose recall is kept with confidence."""
    model, path = Model(4), t.folder / "curve.safetensors"
    points = [[0.0, 1.0, 0.99, 1.0, 0.0], [0.2, 0.99, 0.98, 1.0, 0.3], [0.5, 0.98, 0.95, 0.99, 0.6]]
    model.metadata["curves"] = json.dumps({"alpha": {"pairs": 100, "bids": 10, "points": points}})
    path.write_bytes(model.bytes())
    for recall, threshold in ((0.97, 0.2), (0.95, 0.5), (0.985, 0.0)):
        r = t.run("score", "--model", path, "--recall", recall, stdin=capture_lines(["alpha"]))
        for line in map(json.loads, r.stdout.splitlines()):
            got = line["dsps"][0]
            assert abs(got["threshold"] - threshold) < 1e-6 and got["send"] == (got["p"] >= threshold), (recall, got)


def test_hand_written_models_that_are_wrong_are_refused(t):
    path = t.folder / "wrong.safetensors"

    def without(name):
        return lambda m: m.tensors.pop(name)

    def reshaped(name, *shape):
        def change(m):
            m.add(random.Random(9), name, *shape)
        return change

    def poisoned(name, value):
        def change(m):
            shape, rows = m.tensors[name]
            m.tensors[name] = (shape, (value,) * len(rows) if len(shape) == 1 else [(value,) * len(r) for r in rows])
        return change

    def metadata(**entries):
        def change(m):
            m.metadata = {k: v for k, v in (m.metadata | entries).items() if v is not None}
        return change
    schema = {"features": Model.SCHEMA}
    for word, change in [
            ("hidden2.bias", without("hidden2.bias")), ("embedding.domain", without("embedding.domain")),
            ("tensors", reshaped("hidden1.weight", 7, 3)), ("tensors", reshaped("output.weight", 3, 5)),
            ("tensors", reshaped("embedding.dsp", 4, 4)), ("tensors", reshaped("embedding.size", 2, 2)),
            ("hidden1.bias", poisoned("hidden1.bias", math.nan)),
            ("embedding.domain", poisoned("embedding.domain", math.inf)),
            ("schema", metadata(schema=None)), ("dsps", metadata(dsps=None)), ("dsps", metadata(dsps="[]")),
            ("dsps", metadata(dsps='["a","a","b"]')), ("schema", metadata(schema="{}")),
            ("schema", metadata(schema="nonsense")), ("format", metadata(format="other")),
            ("negative_rate", metadata(negative_rate="0")), ("negative_rate", metadata(negative_rate="2")),
            ("calibration.dsp", reshaped("calibration.dsp", 2, 2)),
            ("slope", lambda m: m.tensors.update({"calibration.dsp": ((3, 2), [(1, 0), (0, 0), (1, 0)])})),
            ("recall_margin", metadata(training='{"recall_margin":1.5}')),
            ("value", metadata(curves='{"alpha":{"points":[],"value":{"points":[[2,1,1,1,1]]}}}')),
            ("curve", metadata(curves='{"alpha":{"points":[[2,1,1,1,1]]}}')),
            ("checksum", metadata(metadata_checksum="0" * 16)),
            ("source", metadata(schema=json.dumps({"features": [dict(schema["features"][0], source="no.such")]}))),
            ("std", metadata(schema=json.dumps({"features": [dict(f, std=0) if f["name"] == "floor" else f
                                                             for f in Model.SCHEMA]})))]:
        model = Model(5)
        change(model)
        path.write_bytes(model.bytes())
        refused(t, 1, "inspect", "--model", path, words=[path, word])


def test_a_hand_written_model_is_recalibrated(t):
    """Tensors and a schema, no more: it gets thresholds by traffic alone."""
    path, out = t.folder / "hand.safetensors", t.folder / "out.safetensors"
    path.write_bytes(Model(3).bytes())
    capture = write(t.folder / "capture.ndjson", [
        {"ts": 1763760000000 + i, "request": {"id": str(i), "imp": [{"id": "1", "banner": {"w": 300, "h": 250}, "bidfloor": i % 17 / 4}],
                                              "site": {"domain": "ab"[i % 2] + ".example"}},
         "dsps": [{"dsp": "alpha", "sent": True, "outcome": "bid" if i % 7 == 0 else "no_bid"}]} for i in range(900)])
    r = one_json(t.run("recalibrate", "--model", path, "--capture", capture, "--out", out, "--json").stdout)
    assert [d["not_filtered"] is None for d in r["dsps"]] == [True, False, False], r
    evaluated = one_json(t.run("evaluate", "--model", out, "--capture", capture, "--json").stdout)
    alpha = evaluated["dsps"][0]
    assert alpha["recall"] >= 0.97 and abs(alpha["calibration"] - 1) < 0.15, alpha
    assert "not filtered" in t.run("inspect", "--model", out).stdout


def test_a_hand_written_model_serves(t):
    """The proxy takes it too: p is in the capture, and without curves every DSP fails open and says so."""
    model, path = Model(6), t.folder / "hand.safetensors"
    path.write_bytes(model.bytes())
    proxy = t.proxy({name: t.dsp() for name in Model.DSPS}, model={"file": str(path), "max_age_hours": 0},
                    capture={"directory": str(t.folder / "capture")})
    for i, (request, _) in enumerate(HAND_MADE):
        assert proxy.post({"id": str(i), "tmax": 500, **request}).status == 204
    proxy.stop()
    expected = scores(t, path)
    for record in captured(t.folder / "capture"):
        for d in record["dsps"]:
            assert abs(d["p"] - expected[int(record["auction"])][d["dsp"]]["p"]) < 1e-6, d
            assert d["sent"] and d["why"] == "fail_open:no_curve", d


run(globals())
