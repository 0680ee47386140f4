"""A web server of this process: files in memory, honest ranges, and faults on request.

A fault is taken for one answer each: a number is a status; `drop` resets the connection half-way
through what was asked for, `short` closes it there, `stall` sends that half and then nothing,
`linger` all of it, and keeps the connection.
"""

import os
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Thing:
    body: bytes
    faults: list[str] = field(default_factory=list)
    tag: str | None = '"one"'
    date: str | None = None
    ranges: bool = True
    trusting: bool = False
    """Answers a range whatever If-Range says."""

    length: bool = True
    chunked: bool = False
    stall_at: int | None = None
    """Sends up to this byte and then nothing, until `Atlas.quiet` is set."""

    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200


class Atlas:
    def __init__(self):
        self.things: dict[str, Thing] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.most = self.now = 0
        self.gate: threading.Barrier | None = None
        self.quiet = threading.Event()
        self.lock = threading.Lock()
        atlas = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                atlas.answer(self)

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.site = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.quiet.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def put(self, path, body, **words) -> str:
        self.things[path] = Thing(body, **words)
        return self.site + path

    def paths(self):
        return [path for path, _ in self.asked]

    def answer(self, request):
        request.close_connection = True
        with self.lock:
            self.asked.append((request.path, request.headers.get("Range")))
            self.now += 1
            self.most = max(self.most, self.now)
            thing = self.things.get(request.path)
            fault = thing.faults.pop(0) if thing and thing.faults else ""
        try:
            if self.gate:
                self.gate.wait()
            if thing is None:
                thing = Thing(b"no such page", status=404)
            if fault.isdigit():
                thing = Thing(b"not now", status=int(fault), headers=thing.headers)
            self.send(request, thing, fault)
        except (BrokenPipeError, ConnectionResetError):
            pass  # who asked was killed
        finally:
            with self.lock:
                self.now -= 1

    def send(self, request, thing, fault):
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        same = request.headers.get("If-Range", thing.tag) in (thing.tag, thing.date)
        start, status = 0, thing.status
        if asked and thing.ranges and (same or thing.trusting) and status == 200:
            start, status = int(asked[1]), 206
            if start >= len(thing.body):
                start, status = len(thing.body), 416
        request.send_response(status)
        known = {"ETag": thing.tag, "Last-Modified": thing.date, **thing.headers}
        if status == 206:
            end = len(thing.body)
            known["Content-Range"] = f"bytes {start}-{end - 1}/{end}"
        if thing.length and not thing.chunked:
            known["Content-Length"] = str(len(thing.body) - start)
        if thing.chunked:
            known["Transfer-Encoding"] = "chunked"
        for name, value in known.items():
            if value is not None:
                request.send_header(name, value)
        request.send_header("Connection", "close")
        request.end_headers()
        rest = thing.body[start:]
        if fault in ("drop", "short", "stall"):
            rest = rest[: len(rest) // 2]
        if thing.stall_at is not None:
            rest = thing.body[start : thing.stall_at]
        if thing.chunked:
            request.wfile.write(b"%x\r\n%s\r\n" % (len(rest), rest))
            if not fault:
                request.wfile.write(b"0\r\n\r\n")
        else:
            request.wfile.write(rest)
        request.wfile.flush()
        if thing.stall_at is not None or fault in ("stall", "linger"):
            self.quiet.wait()
        if fault == "drop":
            linger = struct.pack("ii", 1, 0)  # closes with a reset
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(request.connection.detach())
