"""What each DSP is sent: the body that came in, byte for byte, but for `tmax` and what its `request` settings say."""
import gzip
import json
import re

from harness import PATIENT, bidder, captured, run

# With white space, escapes and numbers that a serialiser would write otherwise.
BODY = (rb'{ "id" : "r\u0031", "tmax":8000 ,"imp":[ {"id":"1","banner":{"format":[{"w":300,"h":250}]},"bidfloor":0.10e0} ],'
        rb'"site":{"domain":"example.com","x":"\/\u00e9"},"wseat":["s" , "7","8"],'
        rb'"user":{"id":"u-1","ext":{"consent":"c", "prebid":{"buyeruids":{"Alpha":"for-alpha","bee":"for-beta"}} }},'
        rb'"ext":{ "ssp":{"old":true}, "z":1.50 } }' + b"\n")
MAP = rb', "prebid":{"buyeruids":{"Alpha":"for-alpha","bee":"for-beta"}}'
JSON = {"content-type": "application/json"}


def body(dsp, i=-1):
    """The bytes that came, with the number of tmax blanked out."""
    raw = dsp.bodies[i]
    if dsp.headers[i].get("content-encoding") == "gzip":
        raw = gzip.decompress(raw)
    assert 0 < json.loads(raw)["tmax"] < 8000, raw
    return re.sub(rb'"tmax":\d+', b'"tmax":#', raw, count=1)


def expected(*changes):
    text = BODY.replace(b'"tmax":8000', b'"tmax":#')
    for old, new in changes:
        assert text.count(old) == 1, (old, text)
        text = text.replace(old, new)
    return text


ALPHA = [(b'{"old":true}', b'{"key":"K"}'), (b'"z":1.50 }', b'"z":1.50,"added":[1,2] }'), (MAP, b''),
         (b'"user":{', b'"user":{"buyeruid":"for-alpha",')]
BETA = [(b'["s" , "7","8"]', b'["8","s"]'), (MAP, b''), (b'"user":{', b'"user":{"buyeruid":"for-beta",')]


def dsps(alpha, beta, plain, **fields):
    return [{"name": "alpha", "url": alpha.url, **fields,
             "request": {"ext": {"ssp": {"key": "K"}, "added": [1, 2]}, "buyeruid": "map"}},
            {"name": "beta", "url": beta.url, **fields,
             "request": {"seats": ["8", "9", "s"], "buyeruid": "map", "buyeruid_key": "bee"}},
            {"name": "plain", "url": plain.url, **fields}]


def answer(price):
    return lambda request, _: bidder(price)(json.loads(gzip.decompress(request)) if isinstance(request, bytes)
                                            else request, {})


def test_each_dsp_sees_its_own_and_nothing_else_changes(t):
    alpha, beta, plain = t.dsp(answer(3.0)), t.dsp(answer(2.0)), t.dsp(answer(1.0))
    proxy = t.proxy(dsps(alpha, beta, plain), capture={"directory": str(t.folder / "capture"), "compress": False},
                    **PATIENT)
    for coding in (None, "gzip"):
        for sent, headers in ((BODY, JSON), (gzip.compress(BODY), {**JSON, "content-encoding": "gzip"})):
            got = proxy.post(sent, headers=headers)
            assert got.status == 200 and got.json["seatbid"][0]["bid"][0]["price"] == 2.01, got
            for dsp, changes in ((alpha, ALPHA), (beta, BETA), (plain, [])):
                assert dsp.headers[-1].get("content-encoding") == coding
                assert body(dsp) == expected(*changes), body(dsp)
        for dsp in proxy.config["dsps"]:
            dsp["gzip"] = True
        proxy.write()
        assert proxy.admin("POST", "/reload").status == 200
    proxy.stop()
    for record in captured(t.folder / "capture"):
        request, came = record["request"], json.loads(BODY)
        ids = request["user"].pop("id"), *request["user"]["ext"].pop("prebid")["buyeruids"].values()
        assert len(set(ids)) == 3 and all(re.fullmatch("[0-9a-f]{16}", i) for i in ids), ids
        del came["user"]["id"], came["user"]["ext"]["prebid"]
        assert request == came


def test_without_anything_to_change_the_shared_body_goes_out(t):
    """A body without tmax, user or ext; `map` has no map to work on."""
    sent = b'{"id":"r1","imp":[{"id":"1","banner":{"w":1,"h":1}}]}'
    alpha, beta, plain = t.dsp(), t.dsp(), t.dsp()
    proxy = t.proxy(dsps(alpha, beta, plain), **PATIENT)
    assert proxy.post(sent, headers=JSON).status == 204
    assert body(plain) == b'{"tmax":#,' + sent[1:]
    assert body(alpha) == b'{"tmax":#,"ext":{"ssp":{"key":"K"},"added":[1,2]},' + sent[1:]
    assert body(beta) == b'{"tmax":#,"wseat":["8","9","s"],' + sent[1:]


def test_no_seat_is_left(t):
    """An empty wseat would open the auction to every seat: the DSP is not called. A bid for a seat that the DSP was
    not told of is refused."""
    dsp = t.dsp(bidder(1.0))
    proxy = t.proxy([{"name": "a", "url": dsp.url, "request": {"seats": ["s", "t"]}}], **PATIENT)
    assert proxy.post(BODY, headers=JSON).status == 200
    for wseat in (b'["x"]', b'["S"]', b'["s"],"bseat":["s"]'):
        assert proxy.post(BODY.replace(b'["s" , "7","8"]', wseat), headers=JSON).status == 204
    assert len(dsp.bodies) == 1
    assert proxy.metrics()['bidsieve_dsp_decisions_total{dsp="a",why="rule:seat"}'] == 3
    proxy.config["dsps"][0]["request"]["seats"] = ["7"]
    proxy.write()
    assert proxy.admin("POST", "/reload").status == 200
    assert proxy.post(BODY, headers=JSON).status == 204
    assert json.loads(dsp.bodies[-1])["wseat"] == ["7"]


run(globals())
