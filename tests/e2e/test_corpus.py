"""Real-shaped requests from others: every answer is 200, 204, or a 400 that names the fault; no connection drops."""
import gzip
import json

from harness import CORPUS, bidder, run


def post_all(proxy, bodies):
    connection, counts, reasons = proxy.connection(), {}, {}
    for body in bodies:
        answer = proxy.post(body, connection=connection)
        counts[answer.status] = counts.get(answer.status, 0) + 1
        assert answer.status in (200, 204, 400), (answer, body[:300])
        if answer.status == 400:
            error = answer.json["error"]
            assert len(error) > 10 and answer.json["nbr"] == 2, answer
            reasons[error] = reasons.get(error, 0) + 1
    print(counts)
    for reason, n in sorted(reasons.items(), key=lambda x: -x[1]):
        print(f"  {n:4} {reason}")
    return counts


def test_requests(t):
    if not CORPUS:
        t.skip("BIDSIEVE_CORPUS is not set")
    proxy = t.proxy({"alpha": t.dsp(bidder(2.0)), "bravo": t.dsp()})
    with open(f"{CORPUS}/openrtb/requests.ndjson") as f:
        bodies = [json.dumps(json.loads(line)["body"]).encode() for line in f]
    counts = post_all(proxy, bodies)
    assert sum(counts.values()) == len(bodies)
    assert counts.get(400, 0) < len(bodies) / 10, counts


def test_captured_requests(t):
    if not CORPUS:
        t.skip("BIDSIEVE_CORPUS is not set")
    proxy = t.proxy({"alpha": t.dsp(bidder(2.0))})
    with gzip.open(f"{CORPUS}/openrtb/captured-2012.ndjson.gz") as f:
        counts = post_all(proxy, [line.strip() for line in f])
    assert set(counts) <= {200, 204}, counts


def test_invalid_requests(t):
    if not CORPUS:
        t.skip("BIDSIEVE_CORPUS is not set")
    proxy = t.proxy({"alpha": t.dsp()})
    with open(f"{CORPUS}/openrtb/invalid_requests.ndjson") as f:
        post_all(proxy, [json.dumps(json.loads(line)["body"]).encode() for line in f])


run(globals())
