"""Capture, then replay into a fresh proxy: every decision comes out the same, and score agrees with both. A process
that is killed while it captures leaves what can be read."""
import json
import os
import signal
import subprocess

from harness import BIDSIEVE, SLOW, World, bid_request, bidder, captured, run, wait_for

REQUESTS = 500


def decisions(folder):
    """(auction, dsp) -> all that the filter decided."""
    found = {}
    for record in captured(folder):
        for d in record["dsps"]:
            key = record["auction"], d["dsp"]
            assert key not in found, key
            found[key] = {k: d.get(k) for k in ("p", "threshold", "propensity", "sent", "why")} | {"ts": record["ts"]}
    return found


def test_replay_decides_alike(t):
    model = t.train(t.world_capture(days="0:2", requests=2500))
    requests = t.world_capture("requests.ndjson", days="2:3", requests=REQUESTS)
    world = World(t)
    settings = {"model": {"file": str(model), "max_age_hours": 0}, "defaults": {"timeout_ms": 5000, "explore": 0.3},
                "auction": {"timeout_ms": 5000}}

    def proxy_into(name):
        proxy = world.proxy(t.folder / name, **settings)
        proxy.config["dsps"][1] |= {"filter": "shadow", "threshold": 0.05}
        proxy.config["dsps"][2]["threshold"] = 0.02
        proxy.config["dsps"].append({"name": "stranger", "url": proxy.config["dsps"][0]["url"], "connections_max": 1024})
        proxy.write()
        assert proxy.admin("POST", "/reload").status == 200
        return proxy
    first = proxy_into("first")
    t.load(first, "--file", requests, "--rate", 400)
    first.stop()
    second = proxy_into("second")
    report = json.loads(t.run("replay", "--capture", t.folder / "first", "--to",
                              f"http://127.0.0.1:{second.port}/openrtb2/auction", "--rate", 400, "--json").stdout)
    assert report["answered"] == REQUESTS, report
    second.stop()

    one, two = decisions(t.folder / "first"), decisions(t.folder / "second")
    assert len(one) == REQUESTS * 4
    assert one == two, [(k, one[k], two.get(k)) for k in one if one[k] != two.get(k)][:3]
    reasons = {why: sum(d["why"] == why for d in one.values()) for why in {d["why"] for d in one.values()}}
    assert {"score", "explore", "below_threshold", "shadow", "fail_open:unknown_dsp"} <= set(reasons), reasons
    check_score(t, model, one)


def check_score(t, model, captured_decisions):
    lines = "".join(json.dumps(r) + "\n" for r in captured(t.folder / "first"))
    for line in t.run("score", "--model", model, stdin=lines).stdout.splitlines():
        line = json.loads(line)
        for d in line["dsps"]:
            was = captured_decisions[line["auction"], d["dsp"]]
            if d["dsp"] == "stranger":
                assert d["p"] is None and d["send"] and was["why"] == "fail_open:unknown_dsp"
                continue
            assert abs(d["p"] - was["p"]) <= 1e-7, (d, was)
            if d["dsp"] != "broad":  # its threshold is the configuration's, which score does not know
                continue
            assert abs(d["threshold"] - was["threshold"]) <= 1e-7, (d, was)
            assert d["send"] == (was["why"] == "score"), (d, was)


def capturing(t, **capture):
    return t.proxy({"alpha": t.dsp(bidder(2.0)), "bravo": t.dsp()}, clock="header",
                   capture={"directory": str(t.folder / "capture"), "segment_bytes_max": 4096, **capture})


def sent(proxy, name, n):
    connection = proxy.connection()
    for i in range(n):
        answer = proxy.post(bid_request(f"{name}-{i}", floor=1.0), {"x-bidsieve-time": str(1763760000000 + 60000 * i)},
                            connection=connection)
        assert answer.status == 200, answer


def readable(t):
    return [r["auction"] for r in captured(t.folder / "capture")]


def test_killed_while_capturing(t):
    for compress in (True, False):
        proxy = capturing(t, compress=compress)
        name = f"compress-{compress}"
        sent(proxy, name, 120)
        # Within about a second all of it is on disk, while the process runs on and the segment is open.
        wait_for(lambda: sum(a.startswith(name) for a in readable(t)) == 120, "120 records to be readable")
        sent(proxy, name + "-late", 30)
        proxy.process.send_signal(signal.SIGKILL)
        proxy.process.wait()
        assert sum(a.startswith(name + "-") for a in readable(t)) >= 120
    # A tail cut anywhere is no error either.
    segments = sorted((t.folder / "capture").iterdir(), key=lambda p: p.stat().st_mtime)
    os.truncate(segments[-1], segments[-1].stat().st_size - 7)
    r = subprocess.run([BIDSIEVE, "train", "--capture", t.folder / "capture", "--out", t.folder / "m", "--epochs", "1",
                        "--hidden", "8,4"], capture_output=True, text=True, timeout=60 * SLOW)
    assert r.returncode == 0, r.stderr
    document = json.loads(t.run("inspect", "--model", t.folder / "m", "--json").stdout)
    training = document["training"]
    assert training["train_pairs"] + training["validation_pairs"] >= 2 * 2 * 119, training


def test_a_new_process_leaves_what_the_old_one_wrote(t):
    for i in range(3):
        proxy = capturing(t)
        sent(proxy, f"run{i}", 20)
        proxy.stop()
    assert sorted(readable(t)) == sorted(f"run{i}-{n}" for i in range(3) for n in range(20))


def test_old_segments_go_when_the_folder_is_full(t):
    proxy = capturing(t, directory_bytes_max=40_000, compress=False)
    sent(proxy, "many", 300)
    proxy.stop()
    kept = readable(t)
    assert 20 < len(kept) < 300 and kept[-1] == "many-299", (len(kept), kept[-1:])
    assert kept == [f"many-{n}" for n in range(300 - len(kept), 300)]


def test_masked(t):
    """What must not be kept is nowhere in the files."""
    proxy = capturing(t, compress=False)
    secrets = ["203.0.113.77", "2001:db8:1:2:3:4:5:6", "user-secret", "buyer-secret", "ifa-secret", "eid-secret"]
    request = bid_request(floor=1.0)
    request["device"] = {"ip": secrets[0], "ipv6": secrets[1], "ifa": secrets[4]}
    request["user"] = {"id": secrets[2], "buyeruid": secrets[3],
                       "ext": {"eids": [{"source": "x", "uids": [{"id": secrets[5]}]}]}}
    assert proxy.post(request).status == 200
    proxy.stop()
    text = "".join(p.read_text() for p in (t.folder / "capture").iterdir()) + proxy.log()
    for secret in secrets:
        assert secret not in text, secret
    assert "203.0.113.0" in text


def test_a_disk_that_cannot_be_written_costs_no_auction(t):
    folder = t.folder / "capture"
    proxy = capturing(t, compress=False)
    sent(proxy, "before", 5)
    wait_for(lambda: len(readable(t)) == 5, "5 records")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("a file where the folder was")
    sent(proxy, "after", 60)  # beyond a segment: a new one cannot be opened
    wait_for(lambda: proxy.status()["capture"]["write_errors"] > 0, "the error to be told")
    assert proxy.status()["capture"]["last_error"]
    sent(proxy, "still", 20)
    proxy.stop()


run(globals())
