#!/usr/bin/env python3
"""A light node of an UltraSockets mesh in one file of plain Python (3.11, standard library only).

Written from WIRE.md alone: its author never saw another implementation. It speaks the open mode (no
secret), takes plain payloads only (no transforms) and never becomes the relay. Comments "Q:" mark the
places where the document left something to guess.
    python3 light_node.py HOST:PORT --name NAME --send-to OTHER --count 1000 --size 100
    printf "OTHER hello\\n" | python3 light_node.py HOST:PORT --name NAME --expect 1
Each arrival is printed as FROM, SERIAL, message with tabs between; at the end a JSON summary goes to stderr.
Exit: 0 all done, 1 refused or not reachable, 2 time was up before everything was done.
"""
import argparse, bisect, collections, contextlib, json, os, random, select, signal, socket, struct, sys, time, zlib

HELLO, WELCOME, REFUSAL, DATA, ACK, RESET, UNREACHABLE, ROSTER, UPDATE, PING, PONG, BYE = range(1, 13)
FIRST, MORE, ACK_NOW, GROUP, REQUEST, REPLY, SEVERAL, UNKNOWN_FLAGS = 1, 2, 4, 8, 16, 32, 64, 0x80
PIECE, MASK, MAX_MESSAGE = 16384, 0xFFFFFFFF, 64 << 20
clock, as_json = time.monotonic, lambda v: json.dumps(v, ensure_ascii=False, default=bytes.hex, skipkeys=True)

# ---- CBOR (RFC 8949), definite lengths ----
def head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    size = next(s for s in range(4) if n < 1 << (8 << s))
    return bytes([major << 5 | 24 + size]) + n.to_bytes(1 << size, "big")
def encode(v):
    if v is None or isinstance(v, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[v]
    if isinstance(v, int):
        return head(0, v) if v >= 0 else head(1, ~v)
    if isinstance(v, float):
        return struct.pack(">Bd", 0xFB, v)
    if isinstance(v, (bytes, str)):
        return head(2, len(v)) + v if isinstance(v, bytes) else head(3, len(v.encode())) + v.encode()
    if isinstance(v, dict):
        return head(5, len(v)) + b"".join(encode(x) for kv in v.items() for x in kv)
    return head(4, len(v)) + b"".join(map(encode, v))
def cut(b, at, n):
    if at + n > len(b):
        raise ValueError("CBOR: cut short")
    return b[at:at + n], at + n
def item(b, at, depth=0):
    lead, at = cut(b, at, 1)
    major, low = lead[0] >> 5, lead[0] & 31
    if low > 27 or depth > 100:
        raise ValueError("CBOR: indefinite, reserved or too deep")
    raw, at = cut(b, at, 1 << low - 24 if low > 23 else 0)
    n = int.from_bytes(raw, "big") if raw else low
    if major < 2:
        return (~n if major else n), at
    if major < 4:
        raw, at = cut(b, at, n)
        return raw.decode() if major == 3 else raw, at
    if major < 6:
        out = []
        for _ in range(n * (major - 3)):
            v, at = item(b, at, depth + 1)
            out.append(v)
        return out if major == 4 else {str(k) if isinstance(k, (list, dict)) else k: v
                                       for k, v in zip(out[::2], out[1::2])}, at
    if major == 6:                                                 # tags are looked through
        return item(b, at, depth + 1)
    return (struct.unpack({25: ">e", 26: ">f", 27: ">d"}[low], raw)[0] if low > 24 else {20: False, 21: True}.get(n)), at
def decode(b):
    v, at = item(b, 0)
    if at != len(b):
        raise ValueError("CBOR: more than one item")
    return v

# ---- frames (section 2) ----
Frame = collections.namedtuple("Frame", "kind flags packing dst src stream seq payload")
HEAD = struct.Struct(">IBBBBBxxxIII")

def build(kind, flags=0, dst="", src="", stream=0, seq=0, payload=b""):
    d, s = dst.encode(), src.encode()
    lead = HEAD.pack(20 + len(d + s + payload), kind, flags, 0, len(d), len(s), stream, seq, 0)[:20]
    return lead + struct.pack(">I", zlib.crc32(payload + lead + d + s)) + d + s + payload

LinkLost = type("LinkLost", (Exception,), {"__doc__": "the connection to the relay ended: dial again"})
GiveUp = type("GiveUp", (Exception,), {"__doc__": "the mesh does not want us"})

def frames(buf):
    """Cuts whole frames off the front of a bytearray; those with a bad checksum are dropped."""
    while len(buf) >= 24:
        length, kind, flags, packing, n, m, stream, seq, crc = HEAD.unpack_from(buf)
        if not 20 <= length <= 16532 or n > 64 or m > 64 or not 0 <= length - 20 - n - m <= PIECE:
            raise LinkLost("impossible frame")
        if len(buf) < 4 + length:
            return
        raw = bytes(buf[:4 + length])
        del buf[:4 + length]
        names, payload = raw[24:24 + n + m], raw[24 + n + m:]
        if zlib.crc32(payload + raw[:20] + names) == crc:
            dst, src = names[:n].decode(errors="replace"), names[n:].decode(errors="replace")
            yield Frame(kind, flags, packing, dst, src, stream, seq, payload)

# ---- the sending side of one stream (section 5) ----
def before(a, b):
    return (a - b) & MASK > 0x7FFFFFFF
Piece = collections.namedtuple("Piece", "num flags payload msg cost")

class Out:
    def __init__(self, node, name):
        self.node, self.name, self.stream = node, name, random.randrange(1, 1 << 32)
        # Q: where does the numbering start? Anywhere: the first frame carries `first`.
        self.number = random.getrandbits(32) if node.opt.start_number is None else node.opt.start_number & MASK
        self.top = self.acked = self.number    # one after the highest number sent; the A of the last Ack
        self.held, self.pos, self.msgs = [], 0, 0                  # frames held, the next to send, messages ever
        self.grant, self.single = None, False  # (W, M) from A on; without it: the one frame is sent
        self.used = self.touched = 0           # what held[A:pos] uses of the grant
        self.rto, self.quiet, self.pause, self.busy, self.idle = 1.0, clock(), 0.0, 0.01, clock()
    def put(self, flags, body):
        if not self.held:
            self.quiet = clock()
            if self.quiet - self.idle >= 1:
                self.grant, self.single = None, False
        self.msgs += 1
        for at in range(0, len(body), PIECE):
            part, more = body[at:at + PIECE], MORE if at + PIECE < len(body) else 0
            cost = 24 + len(self.name.encode()) + len(self.node.name.encode()) + len(part)
            self.held.append(Piece(self.number, flags | more, part, self.msgs, cost))
            self.number = self.number + 1 & MASK
    def index(self, num):
        """Where the first held frame with this number or a later one is."""
        if not self.held or before(num, self.held[0].num):
            return 0
        base = self.held[0].num
        return bisect.bisect_left(self.held, num - base & MASK, key=lambda p: p.num - base & MASK)
    def move(self, at):
        self.pos = at
        run = self.held[self.index(self.acked):at]
        self.used, self.touched = sum(p.cost for p in run), len({p.msg for p in run})
    def go_back(self, at):
        # Q: a receiver that lost its memory inside a long message acknowledges less than it did before; so the
        # mark "an earlier A" must go back with the sender, or those Acks would be ignored for ever.
        self.grant, self.single = None, False
        if at < len(self.held) and before(self.held[at].num, self.acked):
            self.acked = self.held[at].num
        self.move(at)
    def settle(self, a):
        """The frames before a have arrived: whole messages go."""
        done = self.index(a)
        while 0 < done < len(self.held) and self.held[done - 1].msg == self.held[done].msg:
            done -= 1
        if done:
            self.node.count["acked"] += len({p.msg for p in self.held[:done]})
            del self.held[:done]
            self.pos, self.idle = max(0, self.pos - done), clock()
        self.acked = a
    def ack(self, a, w, m):
        if not before(a, self.acked) and not before(self.top, a):
            self.quiet, self.rto, self.busy, self.pause, self.grant = clock(), 1.0, 0.01, 0.0, (w, m)
            self.settle(a)
            self.move(max(self.pos, self.index(a)))
    def reset(self, known, a):
        self.quiet, self.rto = clock(), 1.0
        if not known:
            self.go_back(0)
        elif not before(self.top, a):
            self.settle(a)                     # Q: does it acknowledge? Who expects A has everything before A
            self.go_back(self.index(a))
    def unreachable(self, reason, num):
        at, now = self.index(num), clock()
        self.quiet, self.rto = now, 1.0
        if reason == 1:
            self.go_back(0)
            self.pause = self.quiet = now + 5
        elif reason == 2:
            self.go_back(min(at, self.pos))
            if self.pause <= now:
                self.pause = self.quiet = now + random.uniform(0.5, 1) * self.busy
                self.busy = min(0.05, self.busy * 2)
        elif reason in (3, 4) and at < len(self.held) and self.held[at].num == num:
            gone = self.held[at].msg
            start = next(i for i, p in enumerate(self.held) if p.msg == gone)
            self.held = [p for p in self.held if p.msg != gone]
            self.node.count["given_up"] += 1
            self.idle = now
            self.go_back(min(start, self.pos))
    def pump(self, now):
        opt, count = self.node.opt, self.node.count
        if not self.held or now < self.pause:
            return
        if now - self.quiet >= self.rto:
            self.go_back(0)
            self.quiet, self.rto = now, min(5.0, self.rto * 2)
        while self.pos < len(self.held):
            p, last = self.held[self.pos], self.held[self.pos - 1] if self.pos else None
            if last and p.num != last.num + 1 & MASK:
                break                          # Q: after a message given up: wait until this is the oldest
            again = before(p.num, self.acked)  # only after --rewind-after: not part of the window
            new = not self.touched or last.msg != p.msg
            if self.grant is None and self.single:
                break
            if self.grant and not again:
                fits = self.used + p.cost <= self.grant[0] and self.touched + new <= self.grant[1]
                if not fits and (self.used or 0 in self.grant):
                    break
                self.used, self.touched = self.used + p.cost, self.touched + new
            self.single = True
            count["frames"] += 1
            count["resent"] += before(p.num, self.top)
            self.top = self.top if before(p.num, self.top) else p.num + 1 & MASK
            if count["frames"] != opt.skip_frame:
                flags = p.flags | (0 if last else FIRST) | (0 if self.grant else ACK_NOW)
                self.node.write(build(DATA, flags, self.name, self.node.name, self.stream, p.num, p.payload))
            self.pos += 1
            if count["frames"] == opt.rewind_after:
                self.single = False
                self.move(0)

def split(b):
    """the messages that share a payload; None: they do not fill it"""
    out, at = [], 0
    while at < len(b):
        n = int.from_bytes(b[at:at + 2], "big")
        if n == 0 or at + 2 + n > len(b):
            return None
        out.append(b[at + 2:at + 2 + n])
        at += 2 + n
    return out or None

# ---- the receiving side of one stream (section 6) ----
class In:
    def __init__(self, node, name):
        self.node, self.name, self.stream, self.expect, self.serial = node, name, None, 0, 0
        self.half = self.told = self.ack_at = None
        self.w = self.m = self.used = self.touched = 0             # the grant, and what was used of it
        self.last = clock()
    def send_ack(self):
        now, budget = clock(), self.node.outbox // 2
        lent = sum(max(0, i.w - i.used) for i in self.node.ins.values() if i is not self and now - i.last < 4)
        # Q: and if the budget is used up? W = 1 lets one frame pass at a time and keeps everybody going.
        self.w, self.m = max(min(256 << 10, budget - lent), self.w - self.used, 1), max(1024, self.m - self.touched)
        self.used, self.touched, self.ack_at = 0, 0, None
        window = struct.pack(">III", self.w, self.m, self.expect)  # taken: all, this node prints at once
        self.node.write(build(ACK, 0, self.name, self.node.name, self.stream, self.expect, window))
    def data(self, f):
        node, count, opt = self.node, self.node.count, self.node.opt
        if f.flags & UNKNOWN_FLAGS or f.packing:
            return node.unreachable(f, 4, b"plain payloads and known flags only")
        if f.stream == 0:
            return f.flags & (MORE | SEVERAL) or self.message(f.flags, f.payload)
        first, self.last = f.flags & FIRST, clock()
        if opt.forget_after and count["received"] >= opt.forget_after and not first and not node.forgotten:
            node.forgotten, self.stream, self.half, self.ack_at = True, None, None, None
        same = f.stream == self.stream
        if same and before(f.seq, self.expect):
            count["repeats"] += 1
            self.told = None
            return self.send_ack()
        if not first and not (same and f.seq == self.expect):
            if self.told != (f.stream, same):
                self.told = (f.stream, same)
                count["resets_sent"] += 1
                node.write(build(RESET, 0, f.src, node.name, f.stream, self.expect if same else 0, bytes([same])))
            return None
        # Q: with `first` a half message is forgotten even if q = E (its rest was given up before it was sent)
        fresh = bool(first or self.half is None)
        bodies = split(f.payload) if f.flags & SEVERAL else []
        if bodies is None or f.flags & SEVERAL and (f.flags & MORE or not fresh):
            return node.unreachable(f, 4, b"several messages that are none")
        if len(f.payload) + (0 if fresh else len(self.half)) > opt.max_message:
            return node.unreachable(f, 3, b"this node takes messages of at most %d bytes" % opt.max_message)
        if not same:
            self.stream, self.w, self.m, self.used, self.touched = f.stream, 0, 0, 0, 0
        self.half = bytearray() if fresh else self.half
        self.half += b"" if bodies else f.payload
        self.expect, self.told = f.seq + 1 & MASK, None
        self.used += 24 + len(f.dst.encode()) + len(f.src.encode()) + len(f.payload)
        self.touched += len(bodies) or fresh
        if bodies:
            self.half = None
            for body in bodies:
                self.message(f.flags, body)
        elif not f.flags & MORE:
            body, self.half = bytes(self.half), None
            self.message(f.flags, body)
        if f.flags & ACK_NOW or self.used * 2 >= self.w or self.touched * 2 >= self.m:
            self.send_ack()
        elif self.ack_at is None:
            self.ack_at = clock() + 0.005
    def message(self, flags, body):
        node = self.node
        try:
            if flags & GROUP:
                body = body[1 + body[0]:]
            if flags & REPLY:
                return None                                        # this node asks nothing
            value = decode(body[8:] if flags & REQUEST else body)
        except (ValueError, IndexError, RecursionError) as e:      # Q: what to do with a bad item? Pass it over.
            node.count["bad"] += 1
            return print("bad message from %s: %s" % (self.name, e), file=sys.stderr)
        if flags & REQUEST:
            answer = b"\0" + body[8:] if node.opt.echo_requests else b"\2" + encode("no requests are handled here")
            node.out(self.name).put(REPLY, body[:8] + answer)
        self.serial += 1
        node.count["received"] += 1
        print(self.name, self.serial, value if isinstance(value, str) else as_json(value), sep="\t")

# ---- the node: link, roster, life (sections 1, 3, 8, 9) ----
class Node:
    def __init__(self, opt):
        self.opt, self.name, self.where, self.end = opt, opt.name, opt.where, clock() + opt.timeout
        self.instance, self.token = random.getrandbits(63) | 1, os.urandom(16)
        self.outs, self.ins, self.roster, self.known, self.candidates = {}, {}, {}, {}, []
        self.count = dict.fromkeys("sent acked received resets_sent resets_received repeats resent frames given_up "
                                   "reconnects bad".split(), 0)
        self.term, self.outbox, self.deaf, self.forgotten, self.stop = 0, 1 << 20, opt.drop_acks, False, False
    def out(self, name):
        return self.outs.get(name) or self.outs.setdefault(name, Out(self, name))
    def send(self, name, value):
        self.count["sent"] += 1
        self.out(name).put(0, encode(value))
    def write(self, raw):
        self.wbuf += raw
        self.wrote = clock()
    def unreachable(self, f, reason, text):
        self.write(build(UNREACHABLE, 0, f.src, self.name, f.stream, f.seq, bytes([reason]) + text))
    def dial(self, where):
        """One try: None when linked, else (a sentence, addresses to try next, seconds to wait)."""
        hello = {1: self.opt.mesh, 2: self.name, 3: self.instance, 4: self.token, 10: self.opt.max_message,
                 11: self.opt.roster, 15: self.term}
        hello = build(HELLO, payload=encode({k: v for k, v in hello.items() if v}))
        host, _, port = where.rpartition(":")
        end, buf = clock() + 5, bytearray()
        try:
            sock = socket.create_connection((host.strip("[]"), int(port)), 5)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(b"ULTR\1\0\0\0" + hello)
            answer = sock.recv(8, socket.MSG_WAITALL)
            if len(answer) == 8 and answer[5] == 1:
                return "too busy", [], int.from_bytes(answer[6:], "big") / 1000
            if len(answer) == 8 and (answer[:4] != b"ULTR" or answer[5]):
                raise GiveUp("%s answers the preamble with %r (WIRE.md, section 1)" % (where, answer))
            while True:
                sock.settimeout(max(0.01, end - clock()))
                buf += (more := sock.recv(65536))
                if not more:
                    raise OSError("closed before Welcome")
                for f in frames(buf):
                    body = decode(f.payload) if f.kind in (WELCOME, REFUSAL) else {}
                    if f.kind == REFUSAL:
                        text, code = body.get(2) or "refused with code %d" % body.get(1, 0), body.get(1)
                        if code not in (2, 5, 8, 9) or code == 2 and clock() > self.patient:
                            raise GiveUp(text)
                        return text, body.get(4, []) if code == 5 else [], 0.2
                    if f.kind == WELCOME:
                        self.term, self.outbox = max(self.term, body.get(3, 0)), body.get(4, 1 << 20)
                        self.beat, self.candidates = body.get(5, 0) / 1000 or 5.0, body.get(6, [])
                        sock.setblocking(False)
                        self.sock, self.buf, self.wbuf, self.where = sock, buf, bytearray(), where
                        self.read = self.wrote = self.pinged = clock()
                        for o in self.outs.values():
                            o.go_back(0)
                            o.rto, o.quiet, o.pause = 1.0, clock(), 0.0
                        return None                                # what follows in buf is taken by turn()
        except (OSError, LinkLost, ValueError) as e:
            return "%s: %s" % (where, e), [], 0.2
    def link(self, addresses=()):
        """Dials until linked: the given addresses, the relay dialled last, the candidates, and round again."""
        queue, began = list(addresses), clock()
        self.patient, linked_once = began + 4, hasattr(self, "sock")
        while not self.stop:
            queue = queue or list(dict.fromkeys([self.where, *(a for c in self.candidates for a in c), self.opt.where]))
            trouble = self.dial(queue.pop(0))
            if trouble is None:
                return
            if clock() > self.end or not linked_once and clock() > began + 8:
                raise GiveUp(trouble[0])
            queue[:0] = trouble[1]
            time.sleep(trouble[2])
    def take(self, f):
        if f.kind == DATA and f.src:
            (self.ins.get(f.src) or self.ins.setdefault(f.src, In(self, f.src))).data(f)
        elif f.kind in (ACK, RESET, UNREACHABLE) and f.src:
            o = self.outs.get(f.src)
            if f.kind == ACK and self.deaf:
                self.deaf -= 1
            elif not o or o.stream != f.stream or not f.payload:
                pass                                               # for another stream: ignored
            elif f.kind == ACK and len(f.payload) >= 12:
                o.ack(f.seq, *struct.unpack_from(">II", f.payload))
            elif f.kind == RESET:
                self.count["resets_received"] += 1
                o.reset(f.payload[0] == 1, f.seq)
            elif f.kind == UNREACHABLE:
                o.unreachable(f.payload[0], f.seq)
        elif f.kind == PING:
            self.write(build(PONG, 0, f.src, f.dst, f.stream, f.seq, f.payload))
        elif f.kind == ROSTER:
            body = decode(f.payload)
            if f.flags & FIRST:
                self.roster, self.known = {}, self.roster
            for e in body.get(1, []):
                self.listed(e, self.known)
            self.candidates = body.get(2, self.candidates)
        elif f.kind == UPDATE:
            for change in decode(f.payload).get(1, []):
                e = change.get(3, {})
                if change.get(1) != 2:
                    self.listed(e, self.roster)
                elif self.roster.get(e.get(1), {}).get(2) == e.get(2):
                    del self.roster[e.get(1)]
        elif f.kind == BYE:
            bye = decode(f.payload)
            if bye.get(1) in (2, 3, 5):
                raise GiveUp("put out: %s (reason %d)" % (bye.get(2, ""), bye[1]))
            raise LinkLost("the relay says goodbye", bye.get(4, []))
    def listed(self, e, known):
        old, o = known.get(e.get(1)), self.outs.get(e.get(1))
        self.roster[e.get(1)] = e
        if o and (old is None or old.get(2) != e.get(2)):
            o.pause = 0.0                      # it is there (again): go on
            if old:
                o.go_back(0)                   # it was started anew
    def turn(self, extra):
        """Waits for bytes or a timer, handles them, writes. True if extra can be read."""
        for f in frames(self.buf):
            self.take(f)
        sys.stdout.flush()
        self.timers()
        now, due = clock(), [i.ack_at for i in self.ins.values() if i.ack_at]
        due += [max(o.pause, o.quiet + o.rto) for o in self.outs.values() if o.held]
        r, _, _ = select.select([self.sock, *extra], [self.sock] if self.wbuf else [], [],
                                max(0, min([now + 0.25] + due) - now))
        if self.sock in r:
            self.buf += (more := self.sock.recv(1 << 18))
            if not more:
                raise LinkLost("closed by the relay")
            self.read = clock()
        elif clock() - self.read > 3 * self.beat:                  # and nothing waits to be read
            raise LinkLost("the relay is silent")
        return len(r) > (self.sock in r)
    def timers(self):
        now = clock()
        for i in self.ins.values():
            if i.ack_at and i.ack_at <= now:
                i.send_ack()
        for o in self.outs.values():
            o.pump(now)
        if now - max(self.pinged, min(self.read, self.wrote)) >= self.beat:
            self.pinged = now
            self.write(build(PING, payload=b"light"))
        with contextlib.suppress(BlockingIOError):
            while self.wbuf:
                del self.wbuf[:self.sock.send(self.wbuf)]
    def leave(self):
        """Sends the Acks it owes, then Bye, then reads until the other side closes."""
        for i in self.ins.values():
            if i.ack_at:
                i.send_ack()
        self.write(build(BYE, payload=encode({1: 0})))
        with contextlib.suppress(OSError):
            self.sock.settimeout(1)
            self.sock.sendall(self.wbuf)
            end = clock() + 1
            while clock() < end and self.sock.recv(1 << 16):
                pass
    def run(self):
        opt, text = self.opt, b""
        self.link()
        stdin = [] if opt.send_to else [0]
        for i in range(opt.count if opt.send_to else 0):
            self.send(opt.send_to, ("%06d " % i).ljust(opt.size, "x"))
        while True:
            busy = stdin or any(o.held for o in self.outs.values()) or self.count["received"] < opt.expect
            if not busy or self.stop or clock() > self.end:
                self.leave()
                return 2 if busy and not self.stop else 0
            try:
                if self.turn(stdin):
                    more = os.read(0, 1 << 16)
                    stdin = [0] if more else []
                    *lines, text = (text + (more or b"\n")).split(b"\n")
                    for to, _, rest in (line.decode().rstrip("\r").partition(" ") for line in lines if line.strip()):
                        self.send(to, rest)
            except (OSError, LinkLost) as e:
                print("link lost:", e, file=sys.stderr)
                self.sock.close()
                self.link(e.args[1] if isinstance(e, LinkLost) and len(e.args) > 1 else ())
                self.count["reconnects"] += 1

def main():
    p = argparse.ArgumentParser(description="A light node. Without --send-to it sends the lines 'NAME text' of stdin.")
    p.add_argument("where", metavar="HOST:PORT")
    p.add_argument("--name", required=True)
    for name, kind, default, text in (
            ("mesh", str, "", "insist on this mesh"), ("max-message", int, MAX_MESSAGE, "largest message taken"),
            ("send-to", str, "", "send --count messages of --size characters to this node"), ("count", int, 1, None),
            ("size", int, 32, None), ("expect", int, 0, "stay until so many messages came"),
            ("timeout", float, 60, "seconds"), ("drop-acks", int, 0, "test: be deaf to the first N Acks"),
            ("forget-after", int, 0, "test: forget the sender's stream once, after N messages"),
            ("rewind-after", int, 0, "test: after N frames send everything held once more"),
            ("skip-frame", int, 0, "test: swallow the Nth frame"), ("start-number", int, None, "test: first number")):
        p.add_argument("--" + name, type=kind, default=default, help=text)
    p.add_argument("--roster", action="store_true", help="ask for the roster")
    p.add_argument("--echo-requests", action="store_true", help="answer requests with the item itself")
    node = Node(p.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: setattr(node, "stop", True))
    try:
        code = node.run()
    except GiveUp as e:
        code = print(e, file=sys.stderr) or 1
    sys.exit(print(json.dumps(node.count), file=sys.stderr) or code)

if __name__ == "__main__":
    main()
