"""An S3 of this process: objects in memory, ListObjectsV2 with pages, and requests that fail.

`failing` is the share of requests that fail, drawn anew for each request from the seed, the path
and how often it was asked for; a fault is one of `FAULTS`. A `pause` is the seconds between the
two halves of every body.
"""

import hashlib
import os
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote_plus, unquote, urlsplit
from xml.sax.saxutils import escape

FAULTS = ("drop", "short", "lie", "500", "503", "wrong")
"""Reset half-way; closed half-way; half a body that claims to be all; a status; other bytes (of
objects: a listing has no sum that could tell)."""


class Archive:
    def __init__(self, *, page=1000, failing=0.0, seed=0, pause=0.0, encode=True):
        self.objects: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.page, self.failing, self.seed, self.pause = page, failing, seed, pause
        self.encode = encode
        self.asked: list[tuple[str, str | None]] = []
        self.faults: Counter[str] = Counter()
        self.times: Counter[str] = Counter()
        self.lock = threading.Lock()
        archive = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                archive.answer(self)

            def log_message(self, *words):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self.server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}/bucket"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def put(self, key, body, etag=None):
        self.objects[key] = body
        self.etags[key] = hashlib.md5(body).hexdigest() if etag is None else etag

    def answer(self, request):
        request.close_connection = True
        split = urlsplit(request.path)
        key = unquote(split.path).removeprefix("/bucket/")
        with self.lock:
            self.asked.append((request.path, request.headers.get("Range")))
            self.times[request.path] += 1
            draw = random.Random(f"{self.seed} {request.path} {self.times[request.path]}")
            fault = draw.choice(FAULTS) if draw.random() < self.failing else ""
            self.faults[fault] += 1
        try:
            if fault.isdigit():
                self.send(request, int(fault), b"<Error/>", {})
            elif key == "":
                listing = self.listing(parse_qs(split.query, keep_blank_values=True)).encode()
                self.send(request, 200, listing, {}, fault.replace("wrong", "drop"))
            elif key not in self.objects:
                self.send(request, 404, b"<Error><Code>NoSuchKey</Code></Error>", {})
            else:
                self.thing(request, key, fault)
        except (BrokenPipeError, ConnectionResetError):
            pass  # who asked was killed

    def thing(self, request, key, fault):
        body, tag = self.objects[key], f'"{self.etags[key]}"'
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if asked and request.headers.get("If-Range", tag) == tag:
            start = int(asked[1])
            if start >= len(body):
                return self.send(request, 416, b"", {})
            where = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            return self.send(request, 206, body[start:], {"ETag": tag, **where}, fault)
        return self.send(request, 200, body, {"ETag": tag}, fault)

    def send(self, request, status, body, headers, fault=""):
        whole, cut = body, len(body) // 2
        if fault == "wrong" and body:
            whole = body[:cut] + bytes([body[cut] ^ 0x55]) + body[cut + 1 :]
        if fault == "lie":
            whole = body[:cut]
        request.send_response(status)
        for name, value in {"Content-Length": str(len(whole)), **headers}.items():
            request.send_header(name, value)
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(whole[:cut])
        request.wfile.flush()
        if fault == "drop":
            linger = struct.pack("ii", 1, 0)  # closes with a reset
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(request.connection.detach())
        elif fault != "short":
            time.sleep(self.pause)
            request.wfile.write(whole[cut:])

    def listing(self, query):
        prefix = query.get("prefix", [""])[0]
        delimiter = query.get("delimiter", [""])[0]
        most = min(int(query.get("max-keys", ["1000"])[0]), self.page)
        after = query.get("continuation-token", [""])[0]
        encode = self.encode and query.get("encoding-type") == ["url"]
        said = quote_plus if encode else escape
        rows, last, cut = [], "", False
        for key in sorted(self.objects):
            rest = key.removeprefix(prefix)
            cuts = delimiter != "" and delimiter in rest
            name = prefix + rest.partition(delimiter)[0] + delimiter if cuts else key
            if not key.startswith(prefix) or name <= after or name == last:
                continue
            if len(rows) == most:
                cut = True
                break
            last = name
            if name != key:
                rows.append(f"<CommonPrefixes><Prefix>{said(name)}</Prefix></CommonPrefixes>")
            else:
                rows.append(
                    f"<Contents><Key>{said(key)}</Key><ETag>&quot;{self.etags[key]}&quot;</ETag>"
                    f"<Size>{len(self.objects[key])}</Size></Contents>"
                )
        more = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if cut else ""
        kind = "<EncodingType>url</EncodingType>" if encode else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(cut).lower()}</IsTruncated>{kind}{more}{''.join(rows)}"
            "</ListBucketResult>"
        )
