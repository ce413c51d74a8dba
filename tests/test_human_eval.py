"""People judging images: the arithmetic, the page's server, its database when killed, and a real browser."""

import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from begin import save_run
from chromium import driver, needs_browser
from scipy import stats

from gan_jax import cli, data, workdir
from gan_jax.config import Config
from gan_jax.human_eval import __main__ as human_eval
from gan_jax.human_eval import shares
from gan_jax.human_eval.answers import Answers, Conditions, Tally
from gan_jax.loading import load

pytest.importorskip("flask", reason="Flask is missing: pip install 'gan_jax[human]'")

from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from gan_jax.human_eval import page

REAL, FAKE = 40, 30


def conditions(**fields: Any) -> Conditions:
    base = {"dataset": "mnist", "split": "test", "step": 7, "generator": "ab", "seed": 1}
    return Conditions(**{**base, "num": 12, "grid": False, "seconds": 0.0, **fields})


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (REAL + FAKE, 28, 28, 1), np.uint8)
    return {"real": noise[:REAL], "fake": noise[REAL:]}


def make_app(folder: Path, **fields: Any) -> tuple[Flask, Answers]:
    setting = conditions(**fields)
    answers = Answers(folder / "human_eval.sqlite", create=True)
    app = page.make_app(
        answers,
        setting,
        images(),
        lambda rater: human_eval.deal(setting.seed, 1, rater, setting.num, REAL, FAKE),
    )
    return app, answers


def join(client: FlaskClient, name: str) -> str:
    return client.post("/raters", json={"name": name}).json["rater"]


def judge_all(client: FlaskClient, rater: str, choose: Callable[[str], str]) -> dict[str, Any]:
    """Answers until the result comes; `choose` gives the answer for a card."""
    now = client.get(f"/rater/{rater}/state").json
    while now["result"] is None:
        for card in (card["card"] for card in now["page"] if card["answer"] is None):
            body = {"card": card, "answer": choose(card), "response_ms": 321.5}
            now = client.post("/answers", json=body).json
    return now


def rows(folder: Path, query: str) -> list[tuple]:
    with sqlite3.connect(folder / "human_eval.sqlite") as db:
        found = db.execute(query).fetchall()
    db.close()
    return found


def truths(folder: Path) -> dict[str, str]:
    return dict(rows(folder, "SELECT card, truth FROM cards"))


@contextlib.contextmanager
def serving(app: Flask) -> Iterator[int]:
    """The application on a free port, from a thread of this process."""
    with page.listen(0) as listener:
        server = page.make(listener, app)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.port
        finally:
            server.shutdown()
            thread.join()


# What is dealt, and what the answers add up to


def test_every_rater_gets_other_images_half_of_them_real_in_random_order() -> None:
    decks = [human_eval.deal(3, 1, rater, 100, 10_000, 5000) for rater in range(50)]
    for deck in decks:
        assert len(set(deck)) == 100
        assert Counter(truth for truth, _ in deck) == {"real": 50, "fake": 50}
    assert len(set(map(str, decks))) == 50
    assert decks[4] == human_eval.deal(3, 1, 4, 100, 10_000, 5000)
    assert decks[4] != human_eval.deal(3, 2, 4, 100, 10_000, 5000)
    # 1250 of the 2500 first-half positions are real, with a spread of at most a binomial's 25.
    first = sum(truth == "real" for deck in decks for truth, _ in deck[:50])
    assert abs(first - 1250) < 5 * 25


def test_one_raters_interval_is_the_binomials() -> None:
    found = shares.shares([Tally("Ann", 50, 20, 50, 5)])
    for share, wrong in ((found.fakes, 20), (found.reals, 5)):
        expected = stats.binom.ppf([0.025, 0.975], 50, wrong / 50) / 50
        assert (share.wrong, share.asked) == (wrong, 50)
        np.testing.assert_allclose((share.low, share.high), expected, atol=0.021)
    assert found.errors[:2] == (25, 100)
    # Fakes and reals are resampled apart: the variance is the sum of both.
    sd = np.sqrt(50 * 0.4 * 0.6 + 50 * 0.1 * 0.9) / 100
    np.testing.assert_allclose(found.errors[2:], (0.25 - 1.96 * sd, 0.25 + 1.96 * sd), atol=0.012)


def test_the_interval_over_raters_has_the_variance_of_raters_and_images() -> None:
    rng = np.random.default_rng(5)
    wrong = rng.integers(5, 45, 40)
    found = shares.shares([Tally(str(k), 50, int(k), 50, 0) for k in wrong]).fakes
    p = wrong / 50
    sd = np.sqrt((p.var() + (p * (1 - p) / 50).mean()) / 40)
    np.testing.assert_allclose(found[2:], (p.mean() - 1.96 * sd, p.mean() + 1.96 * sd), atol=0.006)
    # Raters who disagree entirely: 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    split = shares.shares([Tally("a", 50, 0, 50, 0), Tally("b", 50, 50, 50, 50)])
    assert [share[2:] for share in split] == [(0.0, 1.0)] * 3


def test_nothing_asked_has_no_share_and_a_collapsed_interval_a_warning() -> None:
    found = shares.shares([Tally("Ann", 0, 0, 3, 1)])
    assert str(found.fakes) == "-"
    assert shares.caution(found) is None
    assert "3/n" in str(shares.caution(shares.shares([Tally("Ann", 50, 0, 50, 10)])))


# The server


@pytest.mark.parametrize("grid", [False, True])
def test_a_session_counts_each_kind_of_error(tmp_path: Path, grid: bool) -> None:
    app, _ = make_app(tmp_path, grid=grid, num=40)
    client = app.test_client()
    rater = join(client, "Ann")
    truth, fooled = truths(tmp_path), []

    def choose(card: str) -> str:
        if truth[card] == "fake" and len(fooled) < 5:
            fooled.append(card)
            return "real"
        return truth[card]

    now = judge_all(client, rater, choose)
    assert (now["judged"], now["num"], now["page"]) == (40, 40, [])
    assert now["result"]["mine"] == now["result"]["together"]
    assert now["result"]["mine"]["fakes"]["wrong"] == 5
    assert now["result"]["mine"]["fakes"]["asked"] == 20
    assert now["result"]["mine"]["reals"]["wrong"] == 0
    found = rows(
        tmp_path, "SELECT step, seed, rater, truth, image, answer, answered_at, response_ms FROM answers"
    )
    assert len(found) == 40
    assert {row[:3] for row in found} == {(7, 1, "Ann")}
    assert Counter((row[3], row[5]) for row in found) == {
        ("real", "real"): 20,
        ("fake", "fake"): 15,
        ("fake", "real"): 5,
    }
    assert all(re.fullmatch(r"20\d\d-.*\+00:00", row[6]) and row[7] == 321.5 for row in found)


def test_nothing_that_a_browser_receives_tells_real_from_fake(tmp_path: Path) -> None:
    app, _ = make_app(tmp_path, num=60)
    client = app.test_client()
    now = client.get(f"/rater/{join(client, 'Ann')}/state").json
    assert set(now) == {"name", "num", "judged", "grid", "seconds", "page", "result"}
    assert [set(card) for card in now["page"]] == [{"card", "answer"}]
    shown = rows(tmp_path, "SELECT card, truth, image FROM cards ORDER BY position")
    seen: dict[str, set] = {"real": set(), "fake": set()}
    for card, truth, index in shown:
        response = client.get(f"/image/{card}")
        with Image.open(io.BytesIO(response.data)) as picture:
            np.testing.assert_array_equal(np.asarray(picture), images()[truth][index, ..., 0])
            assert picture.info == {}
        chunks = tuple(re.findall(rb"IHDR|IDAT|IEND|tEXt|tIME|zTXt|iTXt|gAMA|pHYs", response.data))
        headers = tuple(sorted((k, v) for k, v in response.headers if k != "Date"))
        seen[truth].add((len(response.data), chunks, headers))
        assert len(card) == 22
    assert seen["real"] == seen["fake"]
    assert len(seen["real"]) == 1


@contextlib.contextmanager
def own_lines() -> Iterator[list[tuple[str, int]]]:
    """The lines of gan_jax that this thread runs meanwhile."""
    found: list[tuple[str, int]] = []
    package = str(Path(page.__file__).parent.parent) + os.sep

    def trace(frame: Any, event: str, _: Any) -> Any:
        path = frame.f_code.co_filename
        if not path.startswith(package):  # the checkout may be called gan_jax, with all libraries below it
            return None
        found.append((path, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield found
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_both_kinds_are_ready_bytes_that_come_the_same_way(
    seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the time that an image takes to come does not tell them apart, either."""
    app, _ = make_app(tmp_path, num=20, seconds=seconds)
    monkeypatch.setattr(page, "png", lambda image: pytest.fail("all were to be ready"))
    client = app.test_client()
    join(client, "Ann")
    ways: dict[str, set] = {"real": set(), "fake": set()}
    for card, truth in truths(tmp_path).items():
        with own_lines() as lines:
            assert client.get(f"/image/{card}").status_code == 200
        ways[truth].add(tuple(lines))
    assert ways["real"] == ways["fake"]
    assert len(ways["real"]) == 1
    assert len(ways["real"].pop()) > 5


def test_the_first_answer_stays(tmp_path: Path) -> None:
    app, _ = make_app(tmp_path)
    client = app.test_client()
    rater = join(client, "Ann")
    card = client.get(f"/rater/{rater}/state").json["page"][0]["card"]
    for answer in ("real", "fake"):
        now = client.post("/answers", json={"card": card, "answer": answer, "response_ms": None}).json
        assert now["judged"] == 1
    assert rows(tmp_path, "SELECT answer, response_ms FROM answers") == [("real", None)]


def test_a_name_goes_on_where_it_was_also_after_a_restart(tmp_path: Path) -> None:
    client = make_app(tmp_path)[0].test_client()
    rater = join(client, "Ann  Lee ")
    before = client.get(f"/rater/{rater}/state").json
    answer = {"card": before["page"][0]["card"], "answer": "real", "response_ms": 1}
    after = client.post("/answers", json=answer).json
    client = make_app(tmp_path)[0].test_client()
    assert join(client, "ann lee") == rater
    assert client.get(f"/rater/{rater}/state").json == after
    assert after["name"] == "Ann Lee"


@pytest.mark.parametrize(
    "other", [{"step": 8}, {"seed": 2}, {"generator": "cd"}, {"num": 10}, {"grid": True}, {"seconds": 1.0}]
)
def test_other_conditions_are_another_session(tmp_path: Path, other: dict[str, Any]) -> None:
    first, answers = make_app(tmp_path)
    rater = join(first.test_client(), "Ann")
    judge_all(first.test_client(), rater, lambda card: "real")
    second = make_app(tmp_path, **other)[0].test_client()
    assert second.get(f"/rater/{rater}/state").status_code == 404
    [card] = rows(tmp_path, "SELECT card FROM cards WHERE position = 0")
    assert second.get(f"/image/{card[0]}").status_code == 404
    assert second.post("/answers", json={"card": card[0], "answer": "real"}).status_code == 404
    assert join(second, "Ann") != rater
    assert list(answers.sessions().values()) == [conditions(), conditions(**other)]
    assert [len(answers.tallies(session)) for session in answers.sessions()] == [1, 0]


def test_a_time_limit_allows_one_look(tmp_path: Path) -> None:
    client = make_app(tmp_path, seconds=0.5)[0].test_client()
    card = client.get(f"/rater/{join(client, 'Ann')}/state").json["page"][0]["card"]
    head = client.head(f"/image/{card}")  # which shows nothing
    assert (head.status_code, head.data) == (200, b"")
    assert [client.get(f"/image/{card}").status_code for _ in range(3)] == [200, 410, 410]


def test_bad_requests_are_refused_and_change_nothing(tmp_path: Path) -> None:
    client = make_app(tmp_path)[0].test_client()
    rater = join(client, "Ann")
    card = client.get(f"/rater/{rater}/state").json["page"][0]["card"]
    good = {"card": card, "answer": "real", "response_ms": 1.0}
    bad = (
        {"answer": "maybe"},
        {"answer": None},
        {"response_ms": -1},
        {"response_ms": "fast"},
        {"card": ["x"]},
    )
    for change in bad:
        assert client.post("/answers", json={**good, **change}).status_code == 400
    infinite = json.dumps({**good, "response_ms": float("inf")})
    assert client.post("/answers", data=infinite, content_type="application/json").status_code == 400
    assert client.post("/answers", json=[1]).status_code == 400
    for late in (10**20, 10**400):
        assert client.post("/answers", json={**good, "response_ms": late}).status_code == 400
    for body in (json.dumps({**good, "card": "\ud800"}), "[" * 2000):
        sent = client.post("/answers", data=body, content_type="application/json")
        assert sent.status_code == 400
    assert client.post("/raters", json={"name": "\ud800"}).status_code == 400
    assert client.post("/answers", data="{", content_type="application/json").status_code == 400
    assert client.post("/answers", data=good).status_code == 415  # what another web site's form could send
    assert client.post("/raters", json={"name": "x" * 9000}).status_code == 413
    for name in ("", "  ", "x" * 41, "\x00", 5):
        assert client.post("/raters", json={"name": name}).status_code == 400
    for path in ("/image/x", "/rater/x/state", "/page.py", "/../human_eval.py", "/static/x"):
        assert client.get(path).status_code == 404
    assert rows(tmp_path, "SELECT count(*) FROM answers") == [(0,)]
    assert rows(tmp_path, "SELECT count(*) FROM raters") == [(1,)]


def test_only_this_machine_and_its_own_name_are_served(tmp_path: Path) -> None:
    app, _ = make_app(tmp_path)
    for path in ("/", "/page.js", "/rater/x/state", "/image/x"):
        assert app.test_client().get(path, headers={"Host": "evil.example:8765"}).status_code == 400
    for host in ("127.0.0.1:8765", "localhost:8765"):
        response = app.test_client().get("/", headers={"Host": host})
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    with serving(app) as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=2)


def test_raters_at_once_are_kept_apart(tmp_path: Path) -> None:
    app, answers = make_app(tmp_path, num=30)
    truth: dict[str, str] = {}

    def rate(number: int) -> dict[str, Any]:
        client = app.test_client()
        rater = join(client, f"rater {number}")
        truth.update(truths(tmp_path))
        return judge_all(client, rater, lambda card: "real" if number % 2 else truth[card])

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(rate, range(4)))
    for number, now in enumerate(results):
        assert now["result"]["mine"]["fakes"]["wrong"] == (15 if number % 2 else 0)
    assert sorted(answers.tallies(1)) == [Tally(f"rater {i}", 15, 15 * (i % 2), 15, 0) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        tokens = set(pool.map(lambda _: join(app.test_client(), "one"), range(8)))
    assert len(tokens) == 1


def test_a_disk_that_cannot_be_written_to_is_told_to_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = make_app(tmp_path)[0].test_client()
    rater = join(client, "Ann")
    (tmp_path / "human_eval.sqlite").unlink()
    response = client.get(f"/rater/{rater}/state")
    assert response.status_code == 503
    assert "cannot save" in response.json["error"]
    assert len(capsys.readouterr().err.splitlines()) == 1


# The command


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder whose newest checkpoint is at step 5, without the training."""
    config = Config(model="mlp", workdir=str(tmp_path_factory.mktemp("run") / "w"), z_dim=8)
    return save_run(workdir.path_of(config), config, (3, 5))


@pytest.fixture
def fresh(run: Path, tmp_path: Path) -> Path:
    """The run's folder again, with no answers in it."""
    return Path(shutil.copytree(run, tmp_path / "w", ignore=shutil.ignore_patterns("*.sqlite*")))


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    def check(args: list[str], *words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["human_eval", *args])
        with pytest.raises(SystemExit) as stop:
            cli.run(human_eval.main)
        lines = capsys.readouterr().err.strip().splitlines()
        assert stop.value.code == 2
        assert len(lines) == 1
        assert all(word in lines[0] for word in words), lines

    return check


def test_what_is_not_allowed_is_refused_in_one_line(
    fresh: Path,
    tmp_path: Path,
    refused: Callable[..., None],
    mnist: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = f"--workdir={fresh}"
    for num in ("0", "7", "-2", "10002"):
        refused([here, f"--num={num}"], f"--num={num}", "even")
    for seconds in ("-1", "nan", "inf", "4000"):
        refused([here, f"--seconds={seconds}"], "--seconds=", "3600")
    refused([here, "--port=70000"], "--port=70000", "65535")
    refused([here, "--seed=-1"], "--seed=-1")
    refused([here, "--checkpoint=4"], "no checkpoint of step 4", "3, 5")
    refused([], "--workdir")
    refused([f"--workdir={tmp_path / 'none'}"], "holds no run")
    refused([f"--workdir={tmp_path / 'none'}", "--report"], "holds no run")
    refused([here, "--report"], "holds no answers yet", "--workdir=")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused([here, f"--port={port}"], f"--port={port}", "in use")
    shutil.rmtree(fresh / "checkpoints")
    refused([here, "--port=0"], "holds no checkpoint yet")
    assert not (fresh / "human_eval.sqlite").exists()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused([here], "pip install 'gan_jax[human]'")


@pytest.mark.parametrize("shape", [(40, 28, 28, 1), (40, 14, 14, 1)])
def test_other_images_than_those_of_the_training_are_not_shown_as_real(
    tmp_path: Path, refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr(page, "make", lambda listener, app: pytest.fail("it was served"))
    np.savez(tmp_path / "mine.npz", images=np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    config = Config(model="mlp", dataset=str(tmp_path / "mine.npz"), z_dim=8)
    folder = save_run(tmp_path / "w", config, (3,))  # trained on MNIST, says its config.json
    refused(
        [f"--workdir={folder}", "--port=0", "--num=4"], "trained on other images than", "mine.npz now holds"
    )
    assert not (folder / "human_eval.sqlite").exists()


def test_a_damaged_or_foreign_database_is_refused_and_left_alone(
    fresh: Path, refused: Callable[..., None], mnist: np.ndarray
) -> None:
    database = fresh / "human_eval.sqlite"
    client = make_app(fresh, num=60)[0].test_client()
    judge_all(client, join(client, "Ann"), lambda card: "real")
    whole = database.read_bytes()
    damages = [b"no database" * 500, whole[: len(whole) // 2], whole[:4096] + bytes(len(whole) - 4096)]
    for damaged in damages:
        database.write_bytes(damaged)
        for more in ("--report", "--port=0"):
            refused([f"--workdir={fresh}", more], "human_eval.sqlite is damaged")
        assert database.read_bytes() == damaged
    database.unlink()
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    for more in ("--report", "--port=0"):
        refused([f"--workdir={fresh}", more], "not one of this gan_jax.human_eval")
    database.unlink()
    database.mkdir()
    refused([f"--workdir={fresh}", "--port=0"], "cannot be used")


def test_the_report_has_a_table_for_each_session(fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step, names in ((5, ("Ann", "Bob")), (6, ("Eve",))):
        client = make_app(fresh, step=step, num=20)[0].test_client()
        for name in names:
            rater, truth = join(client, name), truths(fresh)
            judge_all(client, rater, lambda card, name=name, t=truth: "real" if name == "Bob" else t[card])
    human_eval.main([f"--workdir={fresh}", "--report"])
    first, second = capsys.readouterr().out.split("\n\n")
    assert re.search(
        r"^mnist test images against checkpoint 5, seed 1; 20 images per rater, one at a time", first
    )
    assert re.search(r"^Ann +20/20 +0\.0% \[0\.0%, 0\.0%\] +0\.0% \[0\.0%, 0\.0%\]", first, re.M)
    assert re.search(r"^Bob +20/20 +100\.0% \[100\.0%, 100\.0%\] +0\.0% ", first, re.M)
    assert re.search(r"^together \(2\) +40/40 +50\.0% \[0\.0%, 100\.0%\] ", first, re.M)
    assert "checkpoint 6" in second
    assert "Bob" not in second
    assert "3/n" in second


class Server:
    """`python -m gan_jax.human_eval` as a process, which may be killed and started again on the same port."""

    def __init__(self, folder: Path, *args: str) -> None:
        self._args = [f"--workdir={folder}", *args]
        self.port = 0

    def start(self) -> "Server":
        command = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "gan_jax.human_eval",
            *self._args,
            f"--port={self.port}",
        ]
        env = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline() for _ in range(2)]
        if (found := re.search(r"http://127\.0\.0\.1:(\d+)", lines[1])) is None:
            raise AssertionError(self.stop(signal.SIGKILL))
        self.port = int(found[1])
        return self

    def stop(self, sign: signal.Signals) -> tuple[str, str]:
        self.process.send_signal(sign)
        return self.process.communicate(timeout=600)

    def ask(self, path: str, body: object = None) -> Any:
        headers = {"Content-Type": "application/json"}
        encoded = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", encoded, headers)
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)


def test_a_killed_server_has_kept_every_answer_it_confirmed(fresh: Path, mnist: np.ndarray) -> None:
    confirmed: dict[str, list[str]] = {"Ann": [], "Bob": []}
    with Server(fresh, "--num=2000") as server:
        raters = {name: server.ask("/raters", {"name": name})["rater"] for name in confirmed}

        def rate(name: str) -> None:
            now = server.ask(f"/rater/{raters[name]}/state")
            while True:
                body = {"card": now["page"][0]["card"], "answer": "fake", "response_ms": 1}
                try:
                    now = server.ask("/answers", body)
                except (OSError, HTTPException):  # the server died, perhaps in the middle of its reply
                    return
                confirmed[name].append(body["card"])

        threads = [threading.Thread(target=rate, args=(name,)) for name in confirmed]
        for thread in threads:
            thread.start()
        while min(map(len, confirmed.values())) < 20:
            assert all(thread.is_alive() for thread in threads)
            time.sleep(0.01)
        server.stop(signal.SIGKILL)
        for thread in threads:
            thread.join()

        with server:  # the same command again
            for name, rater in raters.items():
                assert server.ask("/raters", {"name": name.lower()})["rater"] == rater
                judged = server.ask(f"/rater/{rater}/state")["judged"]
                # One more at most: saved, and killed before the reply.
                assert len(confirmed[name]) <= judged <= len(confirmed[name]) + 1
            out, err = server.stop(signal.SIGINT)
            assert (server.process.returncode, err) == (0, "")
    kept = {card for (card,) in rows(fresh, "SELECT card FROM cards WHERE answer = 'fake'")}
    assert kept >= {card for cards in confirmed.values() for card in cards}
    total = rows(fresh, "SELECT count(*) FROM answers")[0][0]
    assert re.search(rf"^together \(2\) +{total}/4000 +0\.0% ", out, re.M)
    assert rows(fresh, "PRAGMA integrity_check") == [("ok",)]
    # The newest checkpoint's images, those that gan_jax.sample draws for the same seed.
    assert set(rows(fresh, "SELECT step, seed FROM sessions")) == {(5, 1)}


def test_the_fakes_are_those_that_sample_draws(
    fresh: Path, mnist: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    got: dict[tuple[str, int], np.ndarray] = {}

    class Visited:
        port = 1

        def __init__(self, listener: socket.socket, app: Flask) -> None:
            self.client = app.test_client()

        def serve_forever(self) -> None:
            join(self.client, "Ann")
            for card, truth, index in rows(fresh, "SELECT card, truth, image FROM cards"):
                with Image.open(io.BytesIO(self.client.get(f"/image/{card}").data)) as picture:
                    got[truth, index] = np.asarray(picture)

    monkeypatch.setattr(page, "make", Visited)
    human_eval.main([f"--workdir={fresh}", "--port=0", "--num=8", "--seed=9", "--checkpoint=3"])
    assert "No answers were given." in capsys.readouterr().out
    fake = load(fresh, 3).sample(max(index for _, index in got) + 1, 9)[..., 0]
    real = data.load("mnist", "test")[0][..., 0]
    assert len(got) == 8
    for (truth, index), picture in got.items():
        np.testing.assert_array_equal(picture, (fake if truth == "fake" else real)[index])


# A real browser


class Browser:
    """A Chromium of its own, as one rater has it."""

    def __init__(self, folder: Path) -> None:
        self.driver = driver(folder, 800, 900)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def until(self, holds: Callable[[], Any]) -> None:
        """Waits for it; elements that the page is just replacing count as not yet."""
        from selenium.common.exceptions import WebDriverException

        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            with contextlib.suppress(WebDriverException):
                if holds():
                    return
            time.sleep(0.02)
        raise AssertionError(f"not so within 300 s; the page says: {self.text('body')}")

    def start(self, port: int, name: str) -> None:
        self.driver.get(f"http://127.0.0.1:{port}/")
        self.find("#name").send_keys(name + "\n")
        self.until(lambda: "/rater/" in self.driver.current_url)

    def open_for_answer(self) -> None:
        self.until(lambda: self.find(".tile.current button:enabled"))

    def press(self, key: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver, duration=0).send_keys(key).perform()

    def judged(self, count: str) -> None:
        """Waits until the server has confirmed so many answers."""
        self.until(lambda: self.text("#count") == count)

    def complaints(self) -> list[str]:
        """What the page logged, above all blocked or failed loads."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def browsers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Browser]]:
    """Two, started once: they keep nothing between tests, since the page has no cookies."""
    pair: list[Browser] = []
    try:
        pair += [Browser(tmp_path_factory.mktemp("chromium")) for _ in range(2)]
        yield pair[0], pair[1]
    finally:
        for browser in pair:
            browser.driver.quit()


@needs_browser
def test_a_whole_session_by_key_and_click_with_a_reload(
    tmp_path: Path, browsers: tuple[Browser, Browser]
) -> None:
    page = browsers[0]
    app, _ = make_app(tmp_path, num=8)
    with serving(app) as port:
        page.start(port, "Ann <b>Lee</b>")
        ways = [
            lambda: page.press("r"),
            lambda: page.find("button[data-answer=fake]").click(),
            lambda: page.press("\ue014"),  # right arrow: fake
            lambda: page.press("\ue012"),  # left arrow: real
            lambda: page.press("F"),
            lambda: page.find("button[data-answer=real]").click(),
            lambda: page.press("\ue007"),  # Enter, on the button of the last click: real
            lambda: page.press("f"),
        ]
        for done, way in enumerate(ways):
            page.judged(f"{done} of 8")
            page.open_for_answer()
            image = page.find(".tile img")
            assert image.value_of_css_property("image-rendering") == "pixelated"
            assert page.driver.execute_script("return arguments[0].naturalWidth", image) == 28
            assert len(page.driver.find_elements("css selector", ".tile")) == 1
            if done == 4:
                shown = page.driver.execute_script("return tiles[0].card")
                page.driver.refresh()
                page.judged("4 of 8")
                page.open_for_answer()
                assert page.driver.execute_script("return tiles[0].card") == shown
            way()
        page.until(lambda: page.find("#result").is_displayed())
        assert page.text("#thanked") == "Ann <b>Lee</b>"
        loaded = page.driver.execute_script(
            "return performance.getEntriesByType('resource').map(e => e.name)"
        )
        assert loaded
        assert all(url.startswith((f"http://127.0.0.1:{port}/", "blob:", "data:")) for url in loaded)
        shares = [found.text for found in page.driver.find_elements("css selector", ".share")]
        assert page.complaints() == []
    given = rows(tmp_path, "SELECT answer, truth FROM answers ORDER BY position")
    assert [answer for answer, _ in given] == ["real", "fake", "fake", "real", "fake", "real", "real", "fake"]
    wrong = Counter(truth for answer, truth in given if answer != truth)
    assert f"({wrong['fake']} of 4)" in shares[0]
    assert f"({wrong['real']} of 4)" in shares[1]
    assert f"({sum(wrong.values())} of 8)" in shares[2]
    times = [time for (time,) in rows(tmp_path, "SELECT response_ms FROM answers")]
    assert all(100 < time < 300_000 for time in times)


@needs_browser
def test_two_raters_at_once_on_grids(tmp_path: Path, browsers: tuple[Browser, Browser]) -> None:
    app, answers = make_app(tmp_path, num=20, grid=True)
    with serving(app) as port:
        for page, name in zip(browsers, ("Ann", "Bob"), strict=True):
            page.start(port, name)
        for count in range(20):
            for page, answer in zip(browsers, ("real", "fake"), strict=True):
                page.judged(f"{count} of 20")
                page.open_for_answer()
                if count in (2, 17):  # past the first page, too
                    page.press("\ue014")
                    page.press("\ue012")
                if count == 5:
                    page.find(f".tile:nth-child(12) button[data-answer={answer}]").click()
                else:
                    page.press(answer[0])
            if count == 9:
                browsers[0].judged("10 of 20")
                browsers[0].driver.refresh()
                browsers[0].judged("10 of 20")
                assert len(browsers[0].driver.find_elements("css selector", ".tile.judged")) == 10
        for page in browsers:
            page.until(lambda page=page: page.find("#result").is_displayed())
            assert page.complaints() == []
        assert "(10 of 10)" in browsers[0].text(".share")
    assert answers.tallies(1) == [Tally("Ann", 10, 10, 10, 0), Tally("Bob", 10, 0, 10, 10)]
    by_time = rows(tmp_path, "SELECT position FROM answers WHERE rater = 'Ann' ORDER BY answered_at")
    assert by_time[5] == (11,)


@needs_browser
def test_an_image_under_a_time_limit_is_seen_once(tmp_path: Path, browsers: tuple[Browser, Browser]) -> None:
    page = browsers[0]
    app, _ = make_app(tmp_path, num=4, seconds=0.3)
    source = "return document.querySelector('.tile img').src.slice(0, 5)"
    record = """
        window.sources = [];
        new MutationObserver((changes) => sources.push(...changes.map((change) => change.target.src.slice(0, 5))))
            .observe(document.querySelector("#tiles"), { subtree: true, attributeFilter: ["src"] });
    """
    with serving(app) as port:
        page.start(port, "Ann")
        page.until(lambda: page.find("#ready").is_displayed())
        assert "0.3 s" in page.text("#limit")
        assert rows(tmp_path, "SELECT sum(shown) FROM cards") == [(0,)]
        page.press(" ")
        page.open_for_answer()
        page.until(lambda: page.driver.execute_script(source) == "data:")  # the mask
        page.driver.refresh()
        page.until(lambda: page.find("#ready").is_displayed())
        page.press(" ")
        page.open_for_answer()
        assert page.driver.execute_script(source) == "data:"
        assert "judge from memory" in page.text("#notice")
        page.driver.execute_script(record)  # 0.3 s may pass between two looks from here
        page.press("r")
        page.judged("1 of 4")
        page.until(lambda: page.driver.execute_script("return sources") == ["blob:", "data:"])
        page.open_for_answer()
        page.press("f")
        page.judged("2 of 4")
    times = [time for (time,) in rows(tmp_path, "SELECT response_ms FROM answers ORDER BY position")]
    assert times[0] is None
    assert times[1] > 100


@needs_browser
def test_a_page_outlives_a_killed_server(
    fresh: Path, browsers: tuple[Browser, Browser], mnist: np.ndarray
) -> None:
    page = browsers[0]
    with Server(fresh, "--num=4") as server:
        page.start(server.port, "Ann")
        page.judged("0 of 4")
        page.open_for_answer()
        page.press("r")
        page.judged("1 of 4")
        page.open_for_answer()
        server.stop(signal.SIGKILL)
        page.press("f")
        page.until(lambda: "No connection" in page.text("#notice"))
        with server:
            page.judged("2 of 4")
            assert page.text("#notice") == ""
            for _ in range(2):
                page.open_for_answer()
                before = page.text("#count")
                page.press("r")
                page.until(lambda before=before: page.text("#count") != before)
            page.until(lambda: page.find("#result").is_displayed())
            out, _ = server.stop(signal.SIGINT)
    assert "Ann" in out
    given = rows(fresh, "SELECT answer FROM answers ORDER BY position")
    assert given == [("real",), ("fake",), ("real",), ("real",)]
