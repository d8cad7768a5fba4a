"""What a schema may say of its features: back-off, hashing, dims by rule. From the log to the score."""
import json

from harness import run

CITIES = 400  # each seen a few times: rarer than min_count


def record(i, region, city, tag):
    request = {"id": str(i), "imp": [{"id": "1", "tagid": tag, "banner": {"w": 300, "h": 250}}],
               "device": {"geo": {"country": region[:3], "region": region[4:], "city": city}}}
    return {"ts": 1763760000000 + i * 20000, "request": request}


def train(t, feature):
    """"alpha" bids on whatever is of GBR/eng and on nothing else."""
    schema = t.folder / "schema.json"
    schema.write_text(json.dumps({"features": [{"name": "dsp", "source": "dsp"}, feature]}))
    with open(t.folder / "log.ndjson", "w") as log:
        for i in range(4000):
            region = ("GBR/ENG", "GBR/SCT", "FRA/IDF")[i % 3]
            line = record(i, region, f"city {i % CITIES}", f"{region} {i % CITIES}")
            outcome = "bid" if region == "GBR/ENG" else "no_bid"
            log.write(json.dumps({**line, "dsps": [{"dsp": "alpha", "sent": True, "outcome": outcome}]}) + "\n")
    model = t.folder / "model.safetensors"
    t.run("train", "--capture", t.folder / "log.ndjson", "--schema", schema, "--hidden", "8,4", "--epochs", "12",
          "--out", model)
    return model


def scores(t, model, *records):
    lines = t.run("score", "--model", model, stdin="".join(json.dumps(r) + "\n" for r in records)).stdout.splitlines()
    return [json.loads(line)["dsps"][0]["p"] for line in lines]


def schema_of(t, model):
    schema = json.loads(t.run("inspect", "--model", model, "--json").stdout)["schema"]
    return {f["name"]: f for f in schema["features"]}


def test_an_unseen_city_counts_as_its_region(t):
    model = train(t, {"name": "geocode", "source": "geo.code", "backoff": True, "min_count": 50})
    england, scotland, nowhere = scores(t, model, record(1, "GBR/ENG", "Nowhere", ""),
                                        record(2, "GBR/SCT", "Nowhere", ""), record(3, "USA/CA", "Nowhere", ""))
    assert england > 0.9 and scotland < 0.3, (england, scotland)
    assert nowhere < 0.9, nowhere  # neither city, region nor country were ever seen
    assert b"GBR/eng\0" in model.read_bytes()
    # Three regions, missing and unknown: the dim follows from the rule, and the model says so.
    assert schema_of(t, model)["geocode"]["dim"] == 3, schema_of(t, model)
    assert schema_of(t, model)["geocode"]["backoff"] is True
    assert schema_of(t, model)["dsp"]["dim"] == 2


def test_without_back_off_it_is_unknown(t):
    model = train(t, {"name": "geocode", "source": "geo.code", "min_count": 50})
    england, scotland = scores(t, model, record(1, "GBR/ENG", "Nowhere", ""), record(2, "GBR/SCT", "Nowhere", ""))
    assert england == scotland, (england, scotland)


def test_hashed_values_need_no_vocabulary(t):
    model = train(t, {"name": "tag", "source": "imp.tagid", "hash_bits": 14, "dim": 4})
    seen = [scores(t, model, record(1, "GBR/ENG", "", f"{region} 36"))[0] for region in ("GBR/ENG", "GBR/SCT")]
    assert seen[0] > 0.7 and seen[1] < 0.3, seen
    assert b"vocabulary.tag" not in model.read_bytes()
    assert schema_of(t, model)["tag"]["hash_bits"] == 14


def test_what_a_schema_may_not_say(t):
    capture = t.folder / "log.ndjson"
    capture.write_text("")
    for feature, says in (({"source": "imp.tagid", "backoff": True}, "no levels"),
                          ({"source": "imp.tagid", "hash_bits": 23}, "1..22"),
                          ({"source": "imp.tagid", "hash_bits": 9, "min_count": 3}, "not beside hash_bits")):
        schema = t.folder / "schema.json"
        schema.write_text(json.dumps({"features": [{"name": "dsp", "source": "dsp"}, {"name": "x", **feature}]}))
        r = t.run("train", "--capture", capture, "--schema", schema, "--out", t.folder / "m", status=1)
        assert str(schema) in r.stderr and "features[1]" in r.stderr and says in r.stderr, r.stderr
        assert r.stderr.count("\n") == 1, r.stderr


run(globals())
