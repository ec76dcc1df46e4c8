"""A small container engine for tests: Docker's API over a unix socket, with plain processes behind it.

It speaks what the backend speaks: ping, version, create, start, inspect, remove, exec with a hijacked, multiplexed
stream, and its exit code. A container is a folder; a command runs there as this user (so: trusted tests only).
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

# Commands run on this machine as this user, so the kernel keeps them from signalling everything that the user runs: kill
# with -1 fails in them and in all that they start. A classic BPF program: is the call kill, is its argument -1?
HARMLESS = """
import errno, os, platform, struct, sys
from opencwm.sandbox import _confine
steps = [
    (0x20, 0, 0, 0), (0x15, 0, 3, {"x86_64": 62, "aarch64": 129}[platform.machine()]),
    (0x20, 0, 0, 16), (0x15, 0, 1, 0xFFFFFFFF), (0x06, 0, 0, 0x00050000 | errno.EPERM), (0x06, 0, 0, 0x7FFF0000),
]
_confine.install_filter(b"".join(struct.pack("=HBBI", *step) for step in steps))
os.execvp(sys.argv[1], sys.argv[1:])
"""
PATH = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path, images=("python:3.11-slim",), python=True):
        self.images = images
        self.python = python  # whether the images have one
        self.containers = {}
        self.executions = {}
        self.bodies = []
        self.broken = False
        super().__init__(path, Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=None):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        with contextlib.suppress(BrokenPipeError):  # whoever asked has read the status, or is gone
            self.end_headers()
            self.wfile.write(data)

    def body(self):
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")

    def route(self):
        path = urlsplit(self.path).path
        body = self.body()
        self.server.bodies.append((self.command, path, body))
        if self.server.broken:
            return self.answer(500, {"message": "the engine is broken"})
        for method, pattern, action in ROUTES:
            if method == self.command and (found := re.fullmatch(pattern, path)):
                try:
                    return getattr(self, action)(body, *found.groups())
                except KeyError as error:
                    return self.answer(404, {"message": f"No such thing: {error}"})
        return self.answer(404, {"message": f"page not found: {path}"})

    do_GET = do_POST = do_DELETE = route

    def ping(self, body):
        self.answer(200)

    def version(self, body):
        self.answer(200, {"Version": "1.0", "ApiVersion": "1.43", "Components": [{"Name": "Fake Engine"}]})

    def create(self, body):
        if body["Image"] not in self.server.images:
            return self.answer(404, {"message": f"No such image: {body['Image']}"})
        number = os.urandom(8).hex()
        folder = tempfile.mkdtemp()
        self.server.containers[number] = {"folder": folder, "body": body, "running": False, "oom": False}
        return self.answer(201, {"Id": number, "Warnings": []})

    def start(self, body, number):
        self.server.containers[number]["running"] = True
        self.answer(204)

    def attach(self, body, number):
        """Standard input of the first process, with whose end that and its container end."""
        container = self.server.containers[number]
        self.upgrade()
        with contextlib.suppress(OSError):
            while self.rfile.read1(5000):
                pass
        if self.server.containers.pop(number, None):
            end(container)
            shutil.rmtree(container["folder"], ignore_errors=True)
        self.close_connection = True

    def upgrade(self):
        self.connection.sendall(
            b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )

    def inspect(self, body, number):
        container = self.server.containers[number]
        self.answer(200, {"Id": number, "State": {"Running": container["running"], "OOMKilled": container["oom"]}})

    def remove(self, body, number):
        container = self.server.containers.pop(number)
        end(container)
        shutil.rmtree(container["folder"], ignore_errors=True)
        self.answer(204)

    def execute(self, body, number):
        container = self.server.containers[number]
        identity = os.urandom(8).hex()
        self.server.executions[identity] = {"container": container, "body": body, "code": None}
        self.answer(201, {"Id": identity})

    def result(self, body, identity):
        execution = self.server.executions[identity]
        self.answer(200, {"Running": execution["code"] is None, "ExitCode": execution["code"]})

    def run(self, body, identity):
        execution = self.server.executions[identity]
        container, job = execution["container"], execution["body"]
        # To everything: here that means the container's other commands. Whoever asks for it in another way is refused by
        # the kernel (HARMLESS).
        if re.search(r"\bkill\b.*\s-1\b", job["Cmd"][-1]):
            end(container)
            return self.answer(200)
        if job["Cmd"][0] == "python3" and not self.server.python:
            job["Cmd"] = ["sh", "-c", "exit 127"]
        environment = dict(item.split("=", 1) for item in container["body"]["Env"] + job.get("Env", []))
        box = os.path.join(container["folder"], "box")
        for name in ("box", "tmp"):
            os.makedirs(os.path.join(container["folder"], name), exist_ok=True)
        # There is no root of its own here, so a shell in the container reports folders of this machine.
        where = job.get("WorkingDir", "/box")
        where = where if where.startswith(box) else os.path.join(box, where.removeprefix("/box").strip("/"))
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", HARMLESS, *job["Cmd"]],
            cwd=where,
            env={"PATH": PATH, **environment, "HOME": box, "CONTAINER": container["folder"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if body.get("Detach"):
            child.communicate()
            execution["code"] = child.returncode
            return self.answer(200)
        self.upgrade()
        lock = threading.Lock()

        def pump(kind, pipe):
            while data := os.read(pipe.fileno(), 5000):
                with lock, contextlib.suppress(OSError):
                    self.connection.sendall(struct.pack(">BxxxI", kind, len(data)) + data)

        def feed():
            with contextlib.suppress(OSError):
                while data := self.rfile.read1(5000):
                    child.stdin.write(data)
                    child.stdin.flush()
            with contextlib.suppress(OSError):
                child.stdin.close()

        threads = [threading.Thread(target=pump, args=pair) for pair in ((1, child.stdout), (2, child.stderr))]
        feeder = threading.Thread(target=feed, daemon=True)
        for thread in (*threads, feeder):
            thread.start()
        for thread in threads:
            thread.join()
        code = child.wait()
        execution["code"] = code if code >= 0 else 128 - code
        child.stdout.close()
        child.stderr.close()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)
        feeder.join()
        return None


def end(container):
    """Kill all processes of a container, by what their environment says."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"CONTAINER={container['folder']}".encode() in (entry / "environ").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)


ROUTES = [
    ("GET", "/_ping", "ping"),
    ("GET", "/version", "version"),
    ("POST", "/containers/create", "create"),
    ("POST", "/containers/([0-9a-f]+)/start", "start"),
    ("POST", "/containers/([0-9a-f]+)/attach", "attach"),
    ("GET", "/containers/([0-9a-f]+)/json", "inspect"),
    ("DELETE", "/containers/([0-9a-f]+)", "remove"),
    ("POST", "/containers/([0-9a-f]+)/exec", "execute"),
    ("POST", "/exec/([0-9a-f]+)/start", "run"),
    ("GET", "/exec/([0-9a-f]+)/json", "result"),
]
