"""A stand-in for the Hugging Face Hub on the loopback: repositories in memory, and what was asked.

It answers the calls that `huggingface_hub` makes to create a repository, to commit files (large
ones by Git LFS) and to fetch one; anything else is not found.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_standin"


class Hub:
    """The repositories, as a context that serves them.

    Attributes:
        repositories: files by their paths, of each repository by its name.
        private: which repositories were made for their owner alone.
        calls: what was asked, `POST /api/repos/create` for instance.
        address: of the server.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.calls: list[str] = []
        self.uploads: dict[str, bytes] = {}
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _answer(
        self, content: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self, code: str) -> None:
        self._answer({"error": code}, 404, {"X-Error-Code": code, "X-Error-Message": code})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_GET(self) -> None:
        self.hub.calls.append(f"{self.command} {self.path}")
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^?]+)", self.path)
        if found is None:
            self._missing("EntryNotFound")
            return
        name, revision, path = found.groups()
        files = self.hub.repositories.get(name)
        if files is None:
            self._missing("RepoNotFound")
        elif revision not in ("main", "a" * 40):
            self._missing("RevisionNotFound")
        elif path not in files:
            self._missing("EntryNotFound")
        else:
            content = files[path]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self._answer(content, headers={"ETag": etag, "X-Repo-Commit": "a" * 40})

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        self.hub.calls.append("PUT")
        content = self._body()
        self.hub.uploads[hashlib.sha256(content).hexdigest()] = content
        self._answer({})

    def do_POST(self) -> None:
        self.hub.calls.append(f"POST {self.path}")
        body = self._body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            self._answer({"files": [_how(file) for file in json.loads(body)["files"]]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [self._slot(one) for one in json.loads(body)["objects"]]
            self._answer({"transfer": "basic", "objects": objects})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path):
            self._commit(found[1], [json.loads(line) for line in body.splitlines()])
        else:
            self._missing("EntryNotFound")

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        there = name in self.hub.repositories
        if not there:
            self.hub.repositories[name] = {}
            if asked.get("private") or asked.get("visibility") == "private":
                self.hub.private.add(name)
        self._answer({"url": f"{self.hub.address}/{name}", "name": name}, 409 if there else 200)

    def _slot(self, one: dict[str, Any]) -> dict[str, Any]:
        href = f"{self.hub.address}/upload/{one['oid']}"
        return {"oid": one["oid"], "size": one["size"], "actions": {"upload": {"href": href}}}

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                content = base64.b64decode(value["content"])
                self.hub.repositories[name][value["path"]] = content
            elif line["key"] == "lfsFile":
                self.hub.repositories[name][value["path"]] = self.hub.uploads[value["oid"]]
        oid = "a" * 40
        url = f"{self.hub.address}/{name}/commit/{oid}"
        self._answer({"success": True, "commitUrl": url, "commitOid": oid})


def _how(file: dict[str, Any]) -> dict[str, Any]:
    mode = "lfs" if file["path"].endswith(".armillary") else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
