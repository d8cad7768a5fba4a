"""Reload: a sound config takes over without a lost request; a broken one changes nothing and says where it is broken."""
import json
import signal
import threading

from harness import bid_request, bidder, run, wait_for


def test_reload_swaps_the_dsps(t):
    first, second = t.dsp(), t.dsp()
    proxy = t.proxy({"alpha": first})
    proxy.post(bid_request())
    assert proxy.status()["generation"] == 1
    proxy.config["dsps"] = [{"name": "bravo", "url": second.url}]
    proxy.write()
    answer = proxy.admin("POST", "/reload")
    assert answer.status == 200 and answer.json == {"generation": 2}, answer
    proxy.post(bid_request())
    assert (len(first.requests), len(second.requests)) == (1, 1)
    assert proxy.status()["generation"] == 2


def test_sighup_reloads(t):
    proxy = t.proxy({"alpha": t.dsp()})
    proxy.process.send_signal(signal.SIGHUP)
    wait_for(lambda: proxy.status()["generation"] == 2, "generation 2")


def test_broken_config_keeps_the_old_one(t):
    dsp = t.dsp(bidder(2.0))
    proxy = t.proxy({"alpha": dsp})
    good = proxy.path.read_text()
    for text, words in [("{", ":1:1:"), (good.replace('"dsps"', '"dspss"'), "dspss"),
                        (good.replace('"url": "http', '"url": "gopher'), "dsps[0].url"),
                        (json.dumps({**json.loads(good), "model": {"file": "missing.safetensors"}}), "missing.safetensors")]:
        proxy.path.write_text(text)
        answer = proxy.admin("POST", "/reload")
        assert answer.status == 422, (text, answer)
        assert words in answer.json["error"], answer
        status = proxy.status()
        assert status["generation"] == 1
        assert words in status["last_reload"]["error"]
        assert proxy.post(bid_request(floor=1.0)).status == 200
    proxy.path.write_text(good)
    assert proxy.admin("POST", "/reload").json == {"generation": 2}


def test_broken_model_keeps_the_old_one(t):
    proxy = t.proxy({"alpha": t.dsp(bidder(2.0))})
    model = t.folder / "m.safetensors"
    model.write_bytes(b"\x10\0\0\0\0\0\0\0{not a header    ")
    proxy.config["model"] = {"file": str(model)}
    proxy.write()
    answer = proxy.admin("POST", "/reload")
    assert answer.status == 422 and "m.safetensors" in answer.json["error"], answer
    assert proxy.status()["generation"] == 1
    assert proxy.post(bid_request(floor=1.0)).status == 200


def test_reload_under_load_loses_nothing(t):
    dsps = {f"d{i}": t.dsp(bidder(1.0 + i), delay=0.02) for i in range(3)}
    proxy = t.proxy(dsps)
    prices, failures, stop = [], [], threading.Event()

    def post():
        connection = proxy.connection()
        while not stop.is_set():
            answer = proxy.post(bid_request(floor=0.5), connection=connection)
            if answer.status == 200:
                prices.append(answer.json["seatbid"][0]["bid"][0]["price"])
            else:
                failures.append(answer)
    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    reloads = 0
    while reloads < 50 or len(prices) < 300:
        assert proxy.admin("POST", "/reload").status == 200
        reloads += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    assert set(prices) == {2.01}, set(prices)
    assert proxy.status()["generation"] == reloads + 1


def test_what_needs_a_restart_is_said(t):
    proxy = t.proxy({"alpha": t.dsp(bidder(2.0))})
    assert proxy.status()["restart_needed"] is False
    port = proxy.config["listen"]["port"]
    proxy.config["listen"]["port"] = port + 1
    proxy.config["dsps"][0]["name"] = "renamed"
    proxy.write()
    assert proxy.admin("POST", "/reload").status == 200
    status = proxy.status()
    assert status["restart_needed"] is True and status["dsps"][0]["name"] == "renamed", status
    wait_for(lambda: "next start" in proxy.log(), "the warning")
    assert proxy.post(bid_request()).status == 200  # on the port it began with
    proxy.config["listen"]["port"] = port
    proxy.write()
    assert proxy.admin("POST", "/reload").status == 200
    assert proxy.status()["restart_needed"] is False


def test_body_limit_applies(t):
    proxy = t.proxy({"alpha": t.dsp()}, limits={"body_bytes_max": 2000})
    large = bid_request(ext={"x": "y" * 3000})
    assert proxy.post(large).status == 413
    proxy.config["limits"]["body_bytes_max"] = 10000
    proxy.write()
    assert proxy.admin("POST", "/reload").status == 200
    assert proxy.post(large).status == 204


def test_gauges_of_a_dsp_that_went(t):
    proxy = t.proxy({"alpha": t.dsp(), "bravo": t.dsp()}, listen={"threads": 1})

    def open_connections(name):
        return sum(n for key, n in proxy.metrics().items()
                   if key.startswith("bidsieve_dsp_connections{") and f'"{name}"' in key)
    proxy.post(bid_request())
    wait_for(lambda: open_connections("alpha") == 1 and open_connections("bravo") == 1, "connections")
    del proxy.config["dsps"][0]
    proxy.write()
    assert proxy.admin("POST", "/reload").status == 200
    assert (open_connections("alpha"), open_connections("bravo")) == (0, 1)


def test_timeout_change_applies(t):
    proxy = t.proxy({"late": t.dsp(bidder(2.0), delay=0.15)}, auction={"timeout_ms": 100})
    assert proxy.post(bid_request(floor=1.0)).status == 204
    proxy.config["auction"]["timeout_ms"] = 400
    proxy.write()
    assert proxy.admin("POST", "/reload").status == 200
    assert proxy.post(bid_request(floor=1.0)).status == 200


run(globals())
