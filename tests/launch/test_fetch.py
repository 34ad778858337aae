"""fetch.py, from a server on this machine."""

import hashlib
import http.server
import importlib.util
import threading

import pytest

from expert_iter.tasks.words import published_files
from tests.launch.scripts import LAUNCH

CONTENT = b'[{"ID": "chal-1"}]'


@pytest.fixture
def fetch(monkeypatch):
    """fetch.py, for which `CONTENT` is the published file."""
    spec = importlib.util.spec_from_file_location("fetch", LAUNCH / "fetch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    published = published_files.SVAMP._replace(sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(module, "SVAMP", published)
    return module


@pytest.fixture
def server(monkeypatch):
    """A server that has `content`, and counts requests in `asked`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            running.asked.append(self.path)
            self.send_response(200 if self.path == "/SVAMP.json" else 404)
            self.end_headers()
            self.wfile.write(running.content)

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.asked, running.content = [], CONTENT
    running.url = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.setenv("SVAMP_URL", f"{running.url}/SVAMP.json")
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def test_the_file_is_fetched_once(fetch, server, tmp_path):
    folder = tmp_path / "data" / "svamp"
    assert fetch.main(str(folder)) == fetch.main(str(folder)) == 0
    assert server.asked == ["/SVAMP.json"]
    assert [path.name for path in folder.iterdir()] == ["SVAMP.json"]
    assert (folder / "SVAMP.json").read_bytes() == CONTENT


def test_another_file_is_refused_in_one_line(fetch, server, tmp_path, capsys):
    server.content = b"<html>"
    assert fetch.main(str(tmp_path / "data")) == 1
    assert not (tmp_path / "data").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"SVAMP.json could not be fetched from {server.url}/SVAMP.json")
    assert "SHA-256" in line


def test_a_damaged_file_is_fetched_again(fetch, server, tmp_path):
    (tmp_path / "SVAMP.json").write_bytes(CONTENT[:-1])
    assert fetch.main(str(tmp_path)) == 0
    assert (tmp_path / "SVAMP.json").read_bytes() == CONTENT


@pytest.mark.parametrize("where", ["/nothing", "refused"])
def test_no_file_and_no_server_are_one_line(fetch, server, where, monkeypatch, tmp_path, capsys):
    url = f"{server.url}{where}" if where != "refused" else "http://127.0.0.1:1/SVAMP.json"
    monkeypatch.setenv("SVAMP_URL", url)
    assert fetch.main(str(tmp_path)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"SVAMP.json could not be fetched from {url}: ")


def test_the_published_file_is_sought_where_it_was_published(fetch):
    url = fetch.url_of(published_files.SVAMP)
    assert url == "https://raw.githubusercontent.com/arkilpatel/SVAMP/main/SVAMP.json"
