"""The loop, end to end on a small world: unfiltered traffic is captured, a model learnt, loaded without a restart, and
the next day only calls that are likely to bring a bid are made; whatever the filter cannot know, it sends."""
import datetime
import json

from harness import World, bid_request, captured, run

DAY_REQUESTS = 4000
DAYS = 3  # of training


def dsp_states(proxy):
    return {d["name"]: d for d in proxy.status()["dsps"]}


def reload(proxy, **changes):
    """With some keys of the configuration changed; `dsps` for each of them."""
    for key, value in changes.items():
        if key == "dsps":
            for d in proxy.config["dsps"]:
                d.update(value)
        else:
            proxy.config[key] = proxy.config.get(key, {}) | value if isinstance(value, dict) else value
    proxy.write()
    answer = proxy.admin("POST", "/reload")
    assert answer.status == 200, answer


def send_day(t, world, proxy, day, requests=DAY_REQUESTS):
    report = t.load(proxy, "--scenario", world.scenario, "--days", f"{day}:{day + 1}", "--requests", requests, "--rate", "max")
    assert set(report["status"]) <= {"200", "204"}, report["status"]
    assert sum(report["status"].values()) == requests, report["status"]


def records_of(folder, day, world):
    start = datetime.datetime.fromisoformat(json.loads(world.scenario.read_text())["start"] + "T00:00:00+00:00")
    begin = int(start.timestamp() * 1000) + day * 86400_000
    return [r for r in captured(folder) if begin <= r["ts"] < begin + 86400_000]


def test_the_loop(t):
    world = World(t)
    capture = t.folder / "capture"
    proxy = world.proxy(capture)
    for day in range(DAYS):
        send_day(t, world, proxy, day)
    for d in dsp_states(proxy).values():
        assert d["threshold"] is None and set(d["decisions"]) == {"fail_open:no_model"}, d
    # All of it is on disk once the writer is changed by a reload; the next days go to another folder.
    later = t.folder / "later"
    reload(proxy, capture={"directory": str(later)})
    model = t.folder / "model.safetensors"
    t.run("train", "--capture", capture, "--out", model, "--hidden", "32,16", "--seed", 3)
    reload(proxy, model={"file": str(model), "max_age_hours": 72}, dsps={"recall_target": 0.95, "explore": 0.05})
    status = proxy.status()
    assert status["model"]["file"] == str(model) and not status["model"]["stale"], status["model"]
    assert dsp_states(proxy)["broad"]["threshold"] > 0, "enough bids to prove a threshold"

    send_day(t, world, proxy, DAYS)
    shadow_day(t, world, proxy, later)
    strangers(t, world, proxy)
    stale(t, world, proxy)
    proxy.stop()
    filtered_day(world, later)


def filtered_day(world, later):
    total = world.report(later, f"{DAYS}:{DAYS + 1}")
    assert total["auctions"] == DAY_REQUESTS
    assert total["total"]["withheld"] > 0.15, total["total"]
    assert total["total"]["recall"] > 0.85, total["total"]
    assert total["total"]["revenue_kept"] > 0.85, total["total"]
    explored = withheld = 0
    for record in records_of(later, DAYS, world):
        assert record["model"] and record["generation"] == 3, record
        for d in record["dsps"]:
            if d["why"] == "fail_open:no_curve":
                assert d["sent"] and "threshold" not in d and d["dsp"] != "broad", d
                continue
            below = d["p"] < d["threshold"]
            assert d["why"] in (("below_threshold", "explore") if below else ("score",)), d
            assert d["sent"] == (d["why"] != "below_threshold"), d
            # The probability with which it was sent, whether it was or not: what estimates are weighted by.
            assert abs(d.get("propensity", 1.0) - (0.05 if below else 1.0)) < 1e-6, d
            explored += d["why"] == "explore"
            withheld += below
    assert 0.02 < explored / withheld < 0.10, (explored, withheld)


def shadow_day(t, world, proxy, later):
    """Everything is sent, what would have been withheld is recorded."""
    reload(proxy, dsps={"filter": "shadow"})
    send_day(t, world, proxy, DAYS + 1, 800)
    reload(proxy, dsps={"filter": "on"}, capture={"directory": str(later) + "-2"})
    records = records_of(later, DAYS + 1, world)
    assert len(records) == 800
    calls = [d for r in records for d in r["dsps"]]
    assert all(d["sent"] and "outcome" in d and d.get("propensity", 1.0) == 1.0 for d in calls)
    decided = [d for d in calls if "threshold" in d]
    assert {d["why"] for d in decided} == {"score", "shadow"}
    assert all((d["why"] == "shadow") == (d["p"] < d["threshold"]) for d in decided)


def strangers(t, world, proxy):
    """A DSP that the model has never seen gets everything."""
    dsps = proxy.config["dsps"]
    proxy.config["dsps"] = dsps + [dict(dsps[0], name="stranger")]
    reload(proxy)
    send_day(t, world, proxy, DAYS + 1, 300)
    state = dsp_states(proxy)["stranger"]
    assert state["threshold"] is None and state["decisions"] == {"fail_open:unknown_dsp": 300}, state
    proxy.config["dsps"] = dsps
    reload(proxy)


def stale(t, world, proxy):
    """A day of traffic beyond max_age_hours, by the traffic's clock: the model is not trusted any more."""
    before = {name: dict(d["decisions"]) for name, d in dsp_states(proxy).items()}
    send_day(t, world, proxy, DAYS + 6, 200)
    for name, d in dsp_states(proxy).items():
        new = {why: n - before[name].get(why, 0) for why, n in d["decisions"].items() if n != before[name].get(why, 0)}
        assert new == {"fail_open:stale_model": 200}, (name, new)
    reload(proxy, model={"max_age_hours": 0})  # trusted for ever
    send_day(t, world, proxy, DAYS + 7, 200)
    assert dsp_states(proxy)["broad"]["decisions"]["fail_open:stale_model"] == 200


def test_stale_by_the_wall_clock_is_told(t):
    model = t.train(t.world_capture(days="0:2", requests=1200))  # of 2026-01
    proxy = t.proxy({"broad": t.dsp()}, model={"file": str(model), "max_age_hours": 1})
    assert proxy.post(bid_request()).status == 204
    assert dsp_states(proxy)["broad"]["decisions"] == {"fail_open:stale_model": 1}
    assert proxy.status()["model"]["stale"] is True
    assert proxy.metrics()["bidsieve_model_stale"] == 1
    reload(proxy, model={"max_age_hours": 0})
    assert proxy.status()["model"]["stale"] is False
    assert proxy.metrics()["bidsieve_model_stale"] == 0


run(globals())
