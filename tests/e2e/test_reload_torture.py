"""Ten thousand auctions are open at once while two hundred reloads run: none is lost, none ends otherwise than it
would have, and nothing of the old configurations stays behind."""
import json
import multiprocessing
import os
import resource
import select
import signal
import socket
import threading

from harness import SLOW, bid_request, bidder, run, wait_for

RELOADS = 200
FLOOR, WINNER, RUNNER_UP = 0.5, 5.0, 3.0
PRICE = 3.01


def descriptors_max():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def in_flight():
    """As many as the proxy has descriptors for: one inbound, one to the DSP that holds its answer back."""
    return min(10_000, (descriptors_max() - 1400) // 2)


def split_message(data):
    """(head, body, rest) of the first whole HTTP message in data, or None."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = 0
    for line in data[:end].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    if len(data) < end + 4 + length:
        return None
    return data[:end], data[end + 4:end + 4 + length], data[end + 4 + length:]


class HoldingDsp:
    """A DSP in a process of its own that answers requests whose id begins with "quick" at once, and holds the answers to
    all others back until it is told to release them."""

    def __init__(self):
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/bid"
        self.held = multiprocessing.Value("i", 0)
        self.control, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=self._serve, args=(listener, theirs), daemon=True)
        self.process.start()
        listener.close()

    def release(self):
        self.control.send("release")

    def close(self):
        self.process.kill()
        self.process.join()

    def _serve(self, listener, control):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        poll = select.epoll()
        poll.register(listener, select.EPOLLIN)
        poll.register(control, select.EPOLLIN)
        peers, input_of, waiting = {}, {}, []
        while True:
            for fd, _ in poll.poll():
                if fd == listener.fileno():
                    peer, _ = listener.accept()
                    peers[peer.fileno()], input_of[peer.fileno()] = peer, b""
                    poll.register(peer, select.EPOLLIN)
                elif fd == control.fileno():
                    control.recv()
                    for peer, body in waiting:
                        self._answer(peer, body)
                    waiting.clear()
                else:
                    self._read(peers, input_of, waiting, fd)

    def _read(self, peers, input_of, waiting, fd):
        try:
            data = peers[fd].recv(65536)
        except OSError:
            data = b""
        if not data:
            peers.pop(fd).close()
            return
        input_of[fd] += data
        while message := split_message(input_of[fd]):
            _, body, input_of[fd] = message
            request = json.loads(body)
            if request["id"].startswith("quick"):
                self._answer(peers[fd], request)
            else:
                waiting.append((peers[fd], request))
                self.held.value += 1

    def _answer(self, peer, request):
        body = json.dumps(bidder(WINNER)(request, None)).encode()
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


class Crowd:
    """n callers, each with a connection of its own and one request under way."""

    AHEAD = 200  # requests sent that the DSP has not got yet: no burst that would meet a DSP's cap

    def __init__(self, port, n, dsp):
        self.sockets = {}
        for i in range(n):
            if i % self.AHEAD == 0:
                wait_for(lambda: dsp.held.value >= i - self.AHEAD, "the calls before to be held", 30)
            s = socket.create_connection(("127.0.0.1", port), timeout=20 * SLOW)
            body = json.dumps(bid_request(f"held-{i}", floor=FLOOR, tmax=60000)).encode()
            s.sendall(b"POST /openrtb2/auction HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(body) + body)
            self.sockets[s.fileno()] = (s, f"held-{i}")

    def answered_early(self):
        poll = select.poll()
        for fd in self.sockets:
            poll.register(fd, select.POLLIN)
        return len(poll.poll(0))

    def collect(self):
        """Reads every answer; returns what is wrong."""
        poll, input_of, faults = select.epoll(), dict.fromkeys(self.sockets, b""), []
        for fd in self.sockets:
            poll.register(fd, select.EPOLLIN)
        left = set(self.sockets)
        while left:
            ready = poll.poll(20 * SLOW)
            if not ready:
                faults.append(f"{len(left)} were never answered")
                break
            for fd, _ in ready:
                s, request_id = self.sockets[fd]
                try:
                    data = s.recv(65536)
                except OSError as error:
                    data = b""
                    faults.append(f"{request_id}: {error!r}")
                input_of[fd] += data
                message = split_message(input_of[fd])
                if data and not message:
                    continue
                poll.unregister(fd)
                left.discard(fd)
                faults += check(request_id, message)
        return faults

    def close(self):
        for s, _ in self.sockets.values():
            s.close()


def check(request_id, message):
    if message is None:
        return [f"{request_id}: closed without an answer"]
    head, body, rest = message
    try:
        answer = json.loads(body)
        bids = [bid["price"] for seat in answer["seatbid"] for bid in seat["bid"]]
    except (ValueError, KeyError):
        return [f"{request_id}: {head[:60]} {body[:60]}"]
    if answer["id"] != request_id or bids != [PRICE] or rest:
        return [f"{request_id}: {answer['id']} {bids} {rest[:60]}"]
    return []


def trickle(proxy, stop, counts, faults):
    """Callers whose auctions begin and end while configurations change."""
    connection, n = proxy.connection(), 0
    while not stop.is_set():
        n += 1
        request_id = f"quick-{threading.get_ident()}-{n}"
        answer = proxy.post(bid_request(request_id, floor=FLOOR, tmax=60000), connection=connection)
        faults += check(request_id, (str(answer.status), answer.body, b"") if answer.status == 200 else None)
        counts.append(1)


def gauge(proxy):
    return proxy.metrics()["bidsieve_requests_in_flight"]


def configurations(proxy, t):
    """Two that differ in all that may differ without changing a price."""
    silent = t.dsp()
    first = json.loads(json.dumps(proxy.config))
    second = json.loads(json.dumps(proxy.config))
    second["dsps"].insert(0, {"name": "silent", "url": silent.url, "recall_target": 0.9})
    second["dsps"][1]["timeout_ms"] = 59000  # another link: new connections to the same DSP
    second["defaults"]["recall_target"] = 0.5
    second["capture"]["directory"] = str(t.folder / "capture-2")
    second["log"] = {"level": "warn"}
    return first, second


def test_ten_thousand_in_flight_and_two_hundred_reloads(t):
    n = in_flight()
    slow = HoldingDsp()
    t.cleanup.append(slow.close)
    quick = t.dsp(bidder(RUNNER_UP))
    proxy = t.proxy([{"name": "slow", "url": slow.url, "connections_max": 65535},
                     {"name": "quick", "url": quick.url, "connections_max": 1000}],
                    auction={"timeout_ms": 60000}, defaults={"timeout_ms": 60000, "connect_timeout_ms": 20000},
                    limits={"in_flight_max": 30000}, listen={"idle_timeout_ms": 600000}, log={"level": "error"},
                    capture={"directory": str(t.folder / "capture-1"), "sample": 0.05})
    crowd = Crowd(proxy.port, n, slow)
    t.cleanup.append(crowd.close)
    wait_for(lambda: slow.held.value == n, f"{n} calls to be held", 30)
    wait_for(lambda: gauge(proxy) == n, "as many requests in flight")

    stop, counts, faults = threading.Event(), [], []
    threads = [threading.Thread(target=trickle, args=(proxy, stop, counts, faults)) for _ in range(4)]
    for thread in threads:
        thread.start()
    first, second = configurations(proxy, t)
    memory_kb, descriptors = {}, {}
    for i in range(1, RELOADS + 1):
        proxy.config = second if i % 2 else first
        proxy.write()
        answer = proxy.admin("POST", "/reload")
        assert answer.status == 200 and answer.json == {"generation": i + 1}, answer
        if i in (50, RELOADS):
            memory_kb[i], descriptors[i] = proxy.memory_kb(), proxy.descriptors()
    wait_for(lambda: len(counts) > 200 or faults, "auctions beside the reloads")
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults, (len(faults), faults[:5])
    assert crowd.answered_early() == 0
    wait_for(lambda: gauge(proxy) == n, "as many requests in flight")

    slow.release()
    faults = crowd.collect()
    assert not faults, (len(faults), faults[:5])
    print(f"{n} in flight over {RELOADS} reloads, {len(counts)} auctions beside them; descriptors {descriptors}, "
          f"memory {memory_kb} kB")
    assert descriptors[RELOADS] <= descriptors[50] + 40, descriptors
    if SLOW == 1:  # sanitizers keep what was freed
        assert memory_kb[RELOADS] < memory_kb[50] + 4096, memory_kb
    crowd.close()
    wait_for(lambda: proxy.descriptors() <= descriptors[RELOADS] - n + 50, "the callers' descriptors to be closed")
    # What generation 1 held is freed now: nothing of it counts any more.
    assert proxy.status()["generation"] == RELOADS + 1
    proxy.stop()


run(globals())
