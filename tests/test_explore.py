"""The page of a generator: the nets in JavaScript against JAX, its controls in a real browser, and its server."""

import dataclasses
import json
import re
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chromium import driver, needs_browser
from lively import NETS, make_gan

import gan_jax
from gan_jax import paths, plain_layers
from gan_jax.checkpoint import Checkpoints
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.explore import server
from gan_jax.explore.page import ASSETS, _curves, page
from gan_jax.gan import Gan
from gan_jax.parts import Facts
from gan_jax.report import Report
from gan_jax.state import to_arrays
from gan_jax.workdir import write_config

Command = Callable[..., subprocess.CompletedProcess[str]]
Small = Callable[..., Config]


@pytest.fixture(scope="module")
def gans() -> dict[str, Gan]:
    return {name: make_gan(name) for name in NETS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, gans: dict[str, Gan]) -> Path:
    """The folder of a run of `classes`, with three grids and rows of a log; its data set's name is no HTML."""
    folder, gan = tmp_path_factory.mktemp("explore") / "w", gans["classes"]
    config = dataclasses.replace(gan.config, dataset="a<b>&c.npz")
    folder.mkdir()
    write_config(folder, config, Facts(gan.parts.image_shape, 64, 3, "0"))
    with Checkpoints(folder / "checkpoints", write=True) as checkpoints:
        checkpoints.save(to_arrays(gan.state.replace(step=jnp.asarray(6))), 6)
    with Report(folder, config, gan.plan, 0) as report:
        for step in (2, 4, 6):
            row = {"step": step, "epoch": gan.plan.epoch(step), "batch": gan.plan.batch(step)}
            scores = {"real_score": 0.7, "fake_score": 0.3} if step > 2 else {}
            report.log({**row, "d_loss": float(step), "g_loss": 1.0, **scores})
            report.samples(row, lambda: gan.grid())
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"step": 6, "epoch": 2, "d_loss": NaN, "g_loss": 1.0}\n')  # damage
    return folder


def test_a_members_page_has_its_own_curves_and_no_film(gans: dict[str, Gan], tmp_path: Path) -> None:
    gan = dataclasses.replace(gans["classes"], state=gans["classes"].state.replace(step=jnp.asarray(4)))
    rows = [
        {"step": step, "epoch": 1, "d_loss": [step / 8, step / 2], "g_loss": [0.0, 1.0]} for step in (2, 4, 6)
    ]
    rows.insert(1, {**rows[0], "step": 3, "g_loss": [0.0]})  # damage
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = re.search(r'id="facts">\n(.*?)</script>', page(gan, tmp_path, member=1), re.S)
    assert found is not None
    facts = json.loads(found[1])
    assert facts["film"] == []
    [losses] = facts["curves"]
    assert losses["steps"] == [2, 4]
    assert [series["values"] for series in losses["series"]] == [[1.0, 2.0], [1.0, 1.0]]


def test_norms_of_gradients_are_shown_as_powers_of_ten() -> None:
    rows: list[Any] = [
        {"step": step, "d_loss": 1.0, "g_loss": 1.0, "d_gradient_norm": 0.0, "g_gradient_norm": 10.0**-step}
        for step in (1, 2, 3)
    ]
    norms = _curves(rows)[-1]
    assert norms["title"] == "Norm of the gradient, powers of ten"
    assert [series["values"] for series in norms["series"]] == [[None] * 3, [-1, -2, -3]]
    assert norms["low"] <= -3 < -1 <= norms["high"]


# Layers


@pytest.mark.parametrize("name", NETS)
def test_directions_are_the_principal_ones_of_the_first_layers_outputs(
    gans: dict[str, Gan], name: str
) -> None:
    first, *_ = plain_layers.of_generator(gans[name])
    found = plain_layers.directions(first, 4)
    np.testing.assert_allclose(found @ found.T, np.eye(4), atol=1e-5)
    # GANSpace's way, from samples: the layer's outputs along its principal axes.
    z = np.random.default_rng(0).normal(size=(20_000, 8))
    kernel, _, gains = first.affine
    weights = kernel if gains is None else kernel * gains.mean(0)
    variances = np.linalg.eigvalsh(np.cov((z @ weights).T))[::-1][:4]
    np.testing.assert_allclose(((found @ weights) ** 2).sum(1), variances, rtol=0.05)


def test_other_nets_points_and_weights_beyond_float16_are_refused(
    gans: dict[str, Gan], small: Small, in_process: Command
) -> None:
    gan = gans["mlp"]
    other = dataclasses.replace(gan, parts=dataclasses.replace(gan.parts, generator=gan.parts.discriminator))
    with pytest.raises(UserError, match="only the nets of --model=mlp, conv and conv_small run without JAX"):
        page(other)
    huge = jax.tree.map(lambda x: x * 1e6, gan.state.g_params)
    with pytest.raises(UserError, match="beyond"):
        page(dataclasses.replace(gan, state=gan.state.replace(g_params=huge)))
    Path("t").mkdir()
    write_config(Path("t"), small(model="toy", dataset="ring8"), Facts((2,), 64, None, "0"))
    for flags, words in (
        (["--workdir=t"], "t makes points, and the page is for images"),
        (["--workdir=nowhere"], "--workdir=nowhere holds no run"),
        (["--workdir=t", "--export=a.htm"], "--export=a.htm is not allowed: it must end in .html (a page)"),
        (["--workdir=t", "--export=no/a.html"], "--export=no/a.html cannot be written: there is no folder"),
    ):
        done = in_process("explore.__main__", *flags)
        assert (done.returncode, done.stdout) == (2, "")
        [line] = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert words in line
    assert not list(Path().glob("*.htm*"))


def test_the_arithmetic_is_short() -> None:
    assert len((ASSETS / "nets.js").read_text().splitlines()) < 200


# The server


def get(port: int, path: str = "/", host: str = "127.0.0.1") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_page_is_served_to_this_machine_alone() -> None:
    with server.serving(0, lambda: "<p>½</p>") as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            port = serving.server_port
            assert get(port) == get(port, host=f"localhost:{port}") == (200, "<p>½</p>")
            assert get(port, "/config.json") == (404, "")
            assert get(port, host="evil.example") == (404, "")
            with pytest.raises(UserError, match=f"--port={port} cannot be used"), server.serving(port, str):
                pass
        finally:
            serving.shutdown()
            thread.join()


def test_a_browser_that_drops_the_download_leaves_the_terminal_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with server.serving(0, lambda: "x" * 2**24) as serving:  # more than the sockets hold
        serving.daemon_threads = False  # the answer's, whose end is then waited for
        with socket.create_connection(("127.0.0.1", serving.server_port), timeout=10) as browser:
            browser.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            serving.handle_request()
            assert browser.recv(4) == b"HTTP"
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset at once
    assert capfd.readouterr().err == ""


def test_the_command_says_where_the_page_is(
    folder: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []
    monkeypatch.setattr(
        server.ThreadingHTTPServer, "serve_forever", lambda self: ports.append(self.server_port)
    )
    done = in_process("explore.__main__", f"--workdir={folder}", "--port=0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Open http://127.0.0.1:{ports[0]} on this machine; Ctrl-C ends.\n"


# In a browser


class Browser:
    """A Chromium with one of the pages."""

    def __init__(self, folder: Path) -> None:
        self.driver = driver(folder / "chromium", 1200, 900)
        self._folder = folder

    def open(self, content: str) -> None:
        path = self._folder / "page.html"
        path.write_text(content)
        self.driver.get(path.as_uri())

    def run(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(script, *args)

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver, duration=0).send_keys(key).perform()

    def until(self, script: str) -> None:
        deadline = time.monotonic() + 60
        while not self.run(f"return {script}"):
            assert time.monotonic() < deadline, script
            time.sleep(0.02)

    def focused(self) -> str:
        return str(self.run("return document.activeElement.ariaLabel ?? document.activeElement.id"))

    def tab_to(self, name: str) -> None:
        for _ in range(60):
            if self.focused() == name:
                return
            self.press("\ue004")
        raise AssertionError(f"no Tab leads to {name}")

    def complaints(self) -> list[str]:
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("browser"))
    try:
        yield made
    finally:
        made.driver.quit()


# A copy is read: of a canvas that is read itself, Chromium complains.
PIXELS = """
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  const pixels = () => (copy.drawImage($("image"), 0, 0), [...copy.getImageData(0, 0, width, height).data]);
"""
DRAW = f"""{PIXELS}
  return arguments[0].map((z, i) => {{
    show({{ z: Float32Array.from(z), shares: only(arguments[1] ? arguments[1][i] : 0) }});
    const logit = gan.discriminate(gan.generate(now.z, now.shares), now.shares);
    return [pixels(), logit, gan.score(logit)];
  }});
"""


@needs_browser
@pytest.mark.parametrize("name", NETS)
def test_its_images_and_scores_are_those_of_python(browser: Browser, gans: dict[str, Gan], name: str) -> None:
    gan = gans[name]
    browser.open(page(gan))
    num = 24
    z, labels = np.asarray(gan.latents(num, seed=5)), gan.classes(num)
    listed = None if labels is None else np.asarray(labels).tolist()
    found = browser.run(DRAW, z.tolist(), listed)
    height, width, _ = gan.parts.image_shape
    pixels = np.array([row[0] for row in found]).reshape(num, height, width, 4)
    assert (pixels[..., 3] == 255).all()
    difference = pixels[..., :3] - gan.draw(z, labels).astype(int)  # grey is in all three
    assert np.abs(difference).max() <= 1
    assert np.ptp(pixels[..., :3], axis=0).mean() > 20  # and not all alike
    # D takes packs: of equal images here.
    pack = gan.parts.pack
    images = jnp.repeat(gan.generate(z, labels), pack, 0)
    logits = np.asarray(gan.discriminate(images, labels))
    np.testing.assert_allclose([row[1] for row in found], logits, atol=0.01 * np.abs(logits).max())
    usual = np.asarray(
        gan.discriminate(gan.generate(gan.latents(240, 0), gan.classes(240)), gan.classes(240))
    )
    score = lambda logit: gan.parts.objective.score(logit[None], usual.mean()[None])[0]
    np.testing.assert_allclose([row[2] for row in found], [float(score(x)) for x in logits], atol=0.01)
    assert browser.complaints() == []


@needs_browser
def test_a_way_in_the_page_is_pythons(browser: Browser, gans: dict[str, Gan]) -> None:
    for name in ("classes", "mlp"):  # on the sphere, and straight
        browser.open(page(gans[name]))
        start, end = np.asarray(gans[name].latents(2, seed=3))
        script = "return arguments[2].map((t) => [...between(...[0, 1].map((i) => "
        script += "({ z: Float32Array.from(arguments[i]), shares: only(0) })), t).z])"
        shares = [0.0, 0.3, 1.0]
        found = browser.run(script, start.tolist(), end.tolist(), shares)
        expected = paths.between(gans[name].parts, start, end, np.array(shares, np.float32))
        np.testing.assert_allclose(found, expected, atol=1e-5)


@needs_browser
def test_the_exported_page_by_keyboard_alone(browser: Browser, folder: Path, in_process: Command) -> None:
    done = in_process("explore.__main__", f"--workdir={folder}", "--export=a.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"a\.html: \d\.\d MB, opens in any browser\n", done.stdout)
    browser.open(Path("a.html").read_text())
    assert browser.run("return document.title") == "a<b>&c, wasserstein"
    # What is shown first is the run's first sample.
    image = PIXELS + "return pixels().filter((_, i) => i % 4 === 0)"
    expected = gan_jax.load(folder).sample(1, 0)[0]
    assert np.abs(np.array(browser.run(image)) - expected.ravel()).max() <= 1

    browser.press("n")
    assert browser.run(image) != expected.ravel().tolist()
    browser.press("w")
    browser.until("drawn > 20")
    browser.press("w")
    assert browser.run("return [walk, $('walk').ariaPressed]") == [None, "false"]

    browser.tab_to("Direction 1")
    before = browser.run("return [...now.z, dot(now.z, directions[0])]")
    browser.press(*["\ue014"] * 3)  # right arrows, of 0.05 each
    after = browser.run("return [...now.z, dot(now.z, directions[0])]")
    assert after[-1] - before[-1] == pytest.approx(0.15, abs=0.03)
    moved = np.subtract(after, before)[:-1]
    np.testing.assert_allclose(np.linalg.norm(moved), after[-1] - before[-1], rtol=1e-3)  # along it alone
    browser.tab_to("reset")
    browser.press("\ue007")
    np.testing.assert_allclose(browser.run("return [...now.z]"), before[:-1], atol=1e-6)

    browser.tab_to("Sample 2")
    browser.press(" ")
    browser.tab_to("Sample 4")
    browser.press("\ue007")
    assert browser.run("return [picked, now.shares.indexOf(1), $('between').hidden]") == [[1, 3], 0, False]
    browser.tab_to("share")
    browser.press("\ue011")  # Home: at A
    np.testing.assert_allclose(
        browser.run("return [...now.z]"), browser.run("return [...samples[1].z]"), atol=1e-5
    )
    assert browser.run("return $('class').control.value") == "1"
    browser.press(*["\ue014"] * 2)
    assert browser.run("return $('class').control.selectedOptions[0].text") == "mixed"
    np.testing.assert_allclose(browser.run("return [...now.shares]"), [0.02, 0.98, 0], atol=1e-6)
    # By class, of the same noise.
    browser.run("$('class').control.focus()")
    browser.press("2")
    assert browser.run("return [...now.shares]") == [0, 0, 1]

    browser.tab_to("Place in the run")
    browser.press("\ue011")
    assert browser.run("return $('caption').textContent") == "step 2 · epoch 1"
    assert browser.run("return $('grid').naturalWidth") == 82
    assert browser.run("return document.querySelectorAll('#curves path:not(.half)').length") == 4
    assert "NaN" not in browser.run("return $('curves').innerHTML")
    assert (
        browser.run(
            "return performance.getEntriesByType('resource').filter((e) => !e.name.startsWith('data:'))"
        )
        == []
    )
    assert browser.complaints() == []


@needs_browser
def test_a_phone_scrolls_down_alone(browser: Browser, gans: dict[str, Gan], folder: Path) -> None:
    size = {"width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": True}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.open(page(gans["classes"], folder))
        browser.run("thumbnails[0].click(); thumbnails[1].click()")
        assert browser.run("return [innerWidth, document.documentElement.scrollWidth]") == [320, 320]
        # The image stays in sight while the last slider is moved.
        browser.run("$('share').scrollIntoView({ block: 'end' })")
        top, bottom = browser.run(
            "const { top, bottom } = $('image').getBoundingClientRect(); return [top, bottom]"
        )
        assert 0 <= top < bottom <= 640
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
