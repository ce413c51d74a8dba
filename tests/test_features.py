"""Feature networks: the classifiers' accuracy and files, and Inception v3 against PyTorch's activations."""

import gzip
import http.client
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

from gan_jax import data, metrics, train_classifier
from gan_jax.errors import UserError
from gan_jax.features import classifier as features
from gan_jax.features import inception_weights
from gan_jax.features.choice import choose_network
from gan_jax.features.random_net import random_network
from gan_jax.features.torch_file import read_state_dict
from gan_jax.storage import sha256_of_data, target

OURS = Path(__file__).parent / "golden"
GOLDEN = Path(os.environ.get("GAN_JAX_GOLDEN") or OURS)


def golden(name):
    """A fixture's path: another folder of golden values need not have those of the networks."""
    return GOLDEN / name if (GOLDEN / name).exists() else OURS / name


FASHION = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist


def original_test_split(folder):
    """Images and labels straight from the original files."""
    images, labels = (
        np.frombuffer(
            gzip.decompress((folder / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=offset
        )
        for name, offset in (("images-idx3", 16), ("labels-idx1", 8))
    )
    return images.reshape(-1, 28, 28, 1), labels


@pytest.fixture(scope="module")
def digits():
    return original_test_split(features.ASSETS / "mnist")


def shipped(name):
    path = features.ASSETS / f"{name}_classifier.npz"
    return features.network_of(f"{name}-classifier", path, (28, 28, 1), features.SHIPPED[name].file)


@pytest.fixture(scope="module")
def network():
    return shipped("mnist")


def accuracy(network, images, labels):
    return np.mean(network.apply(images)[1].argmax(1) == labels)


def test_mnist_accuracy(network, digits):
    assert accuracy(network, *digits) >= 0.995


@pytest.mark.skipif(not FASHION.exists(), reason="needs Debian's dataset-fashion-mnist")
def test_fashion_mnist_accuracy():
    assert accuracy(shipped("fashion_mnist"), *original_test_split(FASHION)) >= 0.93


@pytest.mark.parametrize("dataset", features.SHIPPED)
def test_shipped_files_are_small_and_hold_no_pickle(dataset):
    path = features.ASSETS / f"{dataset}_classifier.npz"
    assert path.stat().st_size <= 1.5e6
    with np.load(path, allow_pickle=False) as arrays:
        assert {arrays[name].dtype for name in arrays.files} == {np.dtype("f2"), np.dtype("f4")}


def test_what_a_network_gives(network, digits):
    found, probabilities = network.apply(digits[0][:3])
    assert network.name == "mnist-classifier"
    assert network.sha256 == features.SHIPPED["mnist"].file
    assert found.shape == (3, 64)
    assert found.dtype == probabilities.dtype == np.float32
    assert probabilities.shape == (3, 10)
    assert probabilities.sum(axis=1) == pytest.approx(1, rel=1e-5)


def test_scores_do_not_depend_on_the_batch_size(network, digits):
    """Nor, in consequence, on the padding of the last batch."""
    real, fake = digits[0][:301], digits[0][301:602] // 2
    scores = []
    for batch_size in (1000, 64, 7):
        pairs = [network.apply(x, batch_size=batch_size) for x in (real, fake)]
        given = [x for x, _ in pairs]
        score = [metrics.frechet_distance(*given), metrics.kernel_distance(*given)]
        score += [*metrics.precision_recall(*given), *metrics.density_coverage(*given)]
        scores.append([*score, *metrics.inception_score(pairs[1][1])])
    assert scores[1] == pytest.approx(scores[0], rel=1e-6)
    assert scores[2] == pytest.approx(scores[0], rel=1e-6)


def test_one_compilation_serves_every_count(network, digits):
    network.apply(digits[0][:5])
    compiled = features._classify._cache_size()
    network.apply(digits[0][:777])
    assert features._classify._cache_size() == compiled


def test_progress_sees_each_batch(network, digits):
    seen = []
    network.apply(digits[0][:7], batch_size=3, progress=lambda steps: seen.append(len(steps)) or steps)
    assert seen == [3]


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 28, 28, 1), np.float32),
        np.zeros((28, 28, 1), np.uint8),
        np.zeros((0, 28, 28, 1), np.uint8),
    ],
)
def test_images_refused(network, images):
    with pytest.raises(UserError, match="images must be uint8"):
        network.apply(images)


def test_images_of_another_shape_refused(network):
    with pytest.raises(UserError, match=r"\[n,28,28,1\], not uint8 \(2, 32, 32, 3\)"):
        network.apply(np.zeros((2, 32, 32, 3), np.uint8))


def test_stacked_mnist_is_judged_channel_by_channel(network, digits):
    stacked = digits[0][:12].reshape(4, 3, 28, 28).transpose(0, 2, 3, 1)
    judge = features.load_stacked_classifier()
    found, probabilities = judge.apply(stacked)
    labels = digits[1][:12].reshape(4, 3).astype(int)
    assert found.shape == (4, 192)
    assert found.reshape(12, 64) == pytest.approx(network.apply(digits[0][:12])[0], abs=1e-5)
    assert probabilities.sum(axis=1) == pytest.approx(1, rel=1e-5)
    assert probabilities.argmax(1).tolist() == (labels @ [100, 10, 1]).tolist()
    assert judge.sha256 == network.sha256


def test_a_data_set_finds_its_shipped_classifier_by_what_it_holds(mnist):
    labels = data.load("mnist", "train")[1]
    found = features.load_classifier(mnist, labels, "whatever it is called")
    assert (found.name, found.sha256) == ("mnist-classifier", features.SHIPPED["mnist"].file)
    assert choose_network(mnist, labels, "mnist").sha256 == found.sha256
    assert features.load_classifier(mnist[:-1], labels[:-1], "mnist") is None


def test_an_own_set_named_as_a_shipped_one_does_not_take_its_name(tmp_path, monkeypatch, own):
    """A score's name pins its network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    variables = features.Classifier(3).init(jax.random.key(0), own[0][:1])
    names = []
    for labels in (own[1], own[1][::-1]):
        features.save_variables(features.classifier_path(own[0], labels), variables)
        names.append(choose_network(own[0], labels, "mnist").name)
    assert len({"mnist-classifier", *names}) == 3


def test_a_damaged_asset_is_refused(tmp_path):
    content = bytearray((features.ASSETS / "mnist_classifier.npz").read_bytes())
    content[5000] ^= 1
    path = tmp_path / "mnist_classifier.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged: its SHA-256 is"):
        features.network_of("mnist", path, (28, 28, 1), features.SHIPPED["mnist"].file)


@pytest.fixture
def own():
    """Own images: 3 classes, 8 × 12 pixels in colour, told apart by colour."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = rng.integers(0, 80, (90, 8, 12, 3), np.uint8)
    images[np.arange(90), :, :, labels] += 120
    return images, labels


@pytest.mark.parametrize(
    "content", [b"", b"not a zip", pickle.dumps({"params": 1})], ids=["empty", "text", "pickle"]
)
def test_a_strange_file_in_the_cache_is_refused(tmp_path, monkeypatch, content, own):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = features.classifier_path(*own)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(UserError, match="holds no classifier"):
        features.load_classifier(*own, "own")


def test_object_arrays_and_other_nets_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, kernel=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="holds no classifier"):
        features.load_variables(path, (28, 28, 1))
    np.savez(path, kernel=np.zeros(3))
    with pytest.raises(UserError, match="holds no classifier"):
        features.load_variables(path, (28, 28, 1))
    with pytest.raises(UserError, match="holds no classifier"):  # of images of another size
        features.load_variables(features.ASSETS / "mnist_classifier.npz", (32, 32, 1))


def test_the_command_trains_one_for_own_images_and_they_find_it(tmp_path, monkeypatch, own, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert choose_network(*own, "own").name == "random-filters-0"
    with pytest.raises(UserError, match="make it with `TRAIN IT`"):
        choose_network(*own, "own", wanted="classifier", train_with="TRAIN IT")
    monkeypatch.setattr(data, "load", lambda name, split, data_dir=None, **options: own)
    train_classifier.main(["--dataset=mnist", "--augment=shift", "--epochs=12", "--batch_size=16"])
    network = choose_network(*own, "own")
    assert network.name == f"own-classifier-{sha256_of_data(*own)[:8]}"
    assert network.sha256 in capsys.readouterr().out
    assert network.classes == 3
    assert accuracy(network, *own) > 0.9  # chance: 1/3
    assert choose_network(*own, "own", wanted="random").name == "random-filters-0"


@pytest.mark.parametrize(
    ("images", "flags", "epochs"),
    [
        (60_000, [], 18),
        (10_000, [], 18),
        (2000, [], 67),
        (150, [], 1000),
        (90, [], 1000),
        (150, ["--epochs=3"], 3),
    ],
)
def test_a_small_set_is_passed_over_until_there_are_enough_steps(monkeypatch, capsys, images, flags, epochs):
    """A fixed number of epochs would be a handful of steps for a few hundred images."""

    class Trained(Exception):
        pass

    def train(images, labels, **how):
        raise Trained(how["epochs"])

    own = np.zeros((images, 8, 8, 1), np.uint8), np.arange(images) % 3
    monkeypatch.setattr(data, "load", lambda name, split, data_dir=None, **options: own)
    monkeypatch.setattr(train_classifier, "train_classifier", train)
    with pytest.raises(Trained, match=f"^{epochs}$"):
        train_classifier.main(["--dataset=mnist", *flags])
    steps = max(1, images // 128)
    assert f" {epochs} epochs of {steps} step{'' if steps == 1 else 's'}\n" in capsys.readouterr().out
    assert steps * epochs >= 1000 or flags


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("w.npz", "is a folder"),
        ("none/x.npz", "there is no folder"),
        ("x.bin", "must end in .npz"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch, out, words):
    (tmp_path / "w.npz").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "load", lambda *args, **options: pytest.fail("it began"))
    with pytest.raises(UserError, match=words):
        train_classifier.main(["--dataset=mnist", f"--out={out}"])
    assert not (tmp_path / "none").exists()


def test_what_the_package_judges_is_not_trained_for_the_cache(tmp_path, monkeypatch, own):
    shapes = jax.eval_shape(features.Classifier(3).init, jax.random.key(0), own[0][:1])
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    monkeypatch.setattr(train_classifier, "train_classifier", lambda images, labels, **how: variables)
    monkeypatch.setattr(train_classifier, "accuracy", lambda network, images, labels: 0.1)
    monkeypatch.setattr(data, "load", lambda name, split, data_dir=None, **options: own)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    content = sha256_of_data(*own)
    for name, value in (("STACKED", content), ("SHIPPED", {"mnist": features.Shipped(content, "0")})):
        with monkeypatch.context() as patched:
            patched.setattr(features, name, value)
            with pytest.raises(
                UserError, match=r"mnist is judged by a classifier in the package.*--out=FILE"
            ):
                train_classifier.main(["--dataset=mnist"])
            assert not list((tmp_path / "cache").rglob("*.npz"))
            train_classifier.main(["--dataset=mnist", f"--out={tmp_path}/{name}.npz"])
            assert (tmp_path / f"{name}.npz").is_file()


def test_a_target_in_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert target("~/x.npz", {".npz": ""}) == tmp_path / "x.npz"


def test_the_default_of_python_is_the_commands(own):
    seen = []
    images, labels = (x[:40] for x in own)
    train_classifier.train_classifier(images, labels, progress=lambda steps: seen.extend(steps) or [])
    assert len(seen) == 1000


def test_images_without_labels_or_of_one_class_teach_nothing(monkeypatch, own):
    images, labels = own
    with pytest.raises(UserError, match="two classes"):
        train_classifier.train_classifier(images, np.zeros_like(labels))
    with pytest.raises(UserError, match="has no labels"):
        choose_network(images, None, "own", wanted="classifier")
    monkeypatch.setattr(data, "load", lambda name, split, data_dir=None, **options: (images, None))
    with pytest.raises(UserError, match="no labels to learn from"):
        train_classifier.main(["--dataset=mnist"])


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 3), (40, 16, 3), (128, 128, 3)])
def test_random_features_of_any_shape(shape):
    images = np.random.default_rng(0).integers(0, 256, (5, *shape), np.uint8)
    network = random_network(shape)
    found, probabilities = network.apply(images)
    assert probabilities is None
    assert (network.classes, network.judges_labels) == (0, False)
    assert found.shape == (5, network.width)
    assert network.width <= 128
    assert np.linalg.matrix_rank(found - found[:1]) == 4  # different images, different features
    np.testing.assert_allclose(network.apply(images, batch_size=2)[0], found, rtol=1e-4, atol=1e-5)


def test_random_features_are_always_the_same_ones():
    assert random_network((28, 28, 1)).sha256[:16] == "4a04f2c1c9fcd57f"  # published scores hang on it
    one, two = random_network((28, 28, 1)), random_network((28, 28, 1), seed=1)
    assert (one.name, two.name) == ("random-filters-0", "random-filters-1")
    assert one.sha256 != two.sha256


def test_random_features_see_a_missing_class_a_collapse_a_blur_and_noise(mnist, digits):
    """Three layers, in place of one, saw a missing class as 1.4 times the floor, and one class alone as 19 times."""
    network = random_network((28, 28, 1))
    labels = data.load("mnist", "train")[1]
    real = np.random.default_rng(0).permutation(digits[0])[:2000]  # they come by writer
    soft = (mnist[:2000].astype(int) + np.roll(mnist[:2000], 1, 1) + np.roll(mnist[:2000], 1, 2)) // 3
    noise = np.random.default_rng(0).integers(0, 256, real.shape, np.uint8)
    see = lambda images: network.apply(images.astype(np.uint8))[0]
    reference, seen = see(real), see(mnist[:8000])
    distance = lambda found: metrics.frechet_distance(reference, found)
    floor = distance(seen[2000:4000])
    missing = [distance(seen[labels[:8000] != label][-2000:]) for label in range(10)]
    assert np.median(missing) > 1.6 * floor
    assert distance(seen[labels[:8000] % 2 == 0][:2000]) > 8 * floor
    assert distance(see(mnist[labels == 4][:2000])) > 30 * floor
    assert min(distance(see(soft)), distance(see(noise))) > 5 * floor


@pytest.mark.parametrize("seed", [0, 1])
def test_random_filters_see_no_strokes_in_a_constant_image(seed):
    """Only its border is seen, in proportion to how bright it is."""
    network = random_network((28, 28, 3), seed)
    grey = lambda level: np.full((1, 28, 28, 3), level, np.uint8)
    found = [network.apply(grey(level))[0] for level in (0, 100, 200)]
    np.testing.assert_allclose(found[0], 0, atol=1e-5)
    np.testing.assert_allclose(found[2], 2 * found[1], rtol=1e-4, atol=1e-5)


def test_random_features_are_the_same_in_another_process():
    code = (
        "import numpy as np; from gan_jax.features.random_net import random_network as make;"
        "n = make((16, 16, 1)); x = np.arange(512, dtype=np.uint16).astype(np.uint8).reshape(2, 16, 16, 1);"
        "print(n.sha256, repr(n.apply(x)[0].tolist()))"
    )
    done = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1")
    ]  # fmt: skip
    assert done[0] == done[1]
    assert done[0].startswith(random_network((16, 16, 1)).sha256)


def test_the_command_trains_one_for_own_images_of_any_shape_and_it_is_found(
    tmp_path, monkeypatch, digits, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    grey = np.pad(digits[0][:480, ::2, ::2], ((0, 0), (1, 1), (1, 1), (0, 0)))
    images, labels = np.repeat(grey, 3, -1), digits[1][:480].astype(np.int32)
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    train_classifier.main([f"--dataset={tmp_path}/own.npz", "--epochs=8", "--batch_size=32"])
    train = data.load(tmp_path / "own.npz", "train")
    network = features.load_classifier(*train, "own")
    assert network.name == f"own-classifier-{sha256_of_data(*train)[:8]}"
    assert network.sha256[:16] in capsys.readouterr().out
    assert accuracy(network, *train) > 0.5  # by chance 0.1


def random_state(names, shapes):
    """As in experiments/make_inception_fixture.py: the same draws in the same order."""
    rng = np.random.default_rng(0)
    state = {}
    for name, shape in zip(names, shapes, strict=True):
        noise = rng.standard_normal(shape, np.float32)
        if len(shape) > 1:
            state[name] = noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        else:
            offset = 1 if name.endswith(("bn.weight", "running_var")) else 0
            state[name] = offset + np.float32(0.1) * noise
    return state


@pytest.fixture(scope="module")
def reference():
    with np.load(golden("inception.npz")) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def torch_state(reference):
    shapes = [tuple(int(n) for n in shape.split(",")) for shape in reference["shapes"].tolist()]
    return random_state(reference["names"].tolist(), shapes)


def test_inception_against_pytorch(reference, torch_state, tmp_path, monkeypatch):
    """The whole path but the file: weights from PyTorch's order, resize, scaling, network, softmax."""
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"")
    monkeypatch.setattr(inception_weights, "read_state_dict", lambda path: torch_state)
    network = inception_weights.load_inception(weights, sha256=None)
    found, probabilities = network.apply(reference["images"], batch_size=2)
    assert found == pytest.approx(reference["features"], abs=1e-4)
    unbiased = reference["logits"] - torch_state["fc.bias"][None]
    expected = np.exp(unbiased) / np.exp(unbiased).sum(axis=1, keepdims=True)
    assert probabilities == pytest.approx(expected, abs=1e-4 * float(expected.max()))
    # A grey image is one with three equal channels; and three images fill one batch and a half.
    grey = np.repeat(reference["images"][1:, :, :, :1], 3, axis=0)
    found, _ = network.apply(grey, batch_size=2)
    assert found == pytest.approx(reference["features"][[1, 1, 1]], abs=1e-4)


def test_inception_logits_against_pytorch(reference, torch_state):
    variables = inception_weights.variables_from_torch(torch_state)
    kernel, bias = (np.asarray(variables["params"]["fc"][name]) for name in ("kernel", "bias"))
    assert reference["features"] @ kernel + bias[None] == pytest.approx(reference["logits"], abs=1e-4)


@pytest.mark.parametrize("change", ["missing", "superfluous", "shape"])
def test_other_weights_are_refused(torch_state, change):
    state = dict(torch_state)
    if change == "missing":
        del state["fc.bias"]
    elif change == "superfluous":
        state["AuxLogits.fc.bias"] = state["fc.bias"]
    else:
        state["fc.bias"] = state["fc.bias"][:1000]
    with pytest.raises(UserError, match=r"not the weights of 2015-12-05: '.*fc.bias'"):
        inception_weights.variables_from_torch(state)


def test_wrong_inception_files_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(UserError, match="does not exist"):
        inception_weights.load_inception(path)
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="its SHA-256 is"):
        inception_weights.load_inception(path)


def test_download(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "source"
    monkeypatch.setattr(inception_weights, "URL", source.as_uri())
    with pytest.raises(UserError, match="cannot download"):
        inception_weights.download()
    source.write_bytes(b"weights")
    with pytest.raises(UserError, match="did not give the file"):
        inception_weights.download()
    monkeypatch.setattr(inception_weights, "SHA256", inception_weights.sha256_of_file(source))
    path = inception_weights.download()
    assert path.read_bytes() == b"weights"
    assert [file.name for file in path.parent.iterdir()] == [inception_weights.FILE_NAME]
    source.unlink()
    assert inception_weights.download() == path

    def strange(*given, **options):
        raise http.client.BadStatusLine("x")

    path.unlink()
    monkeypatch.setattr(inception_weights.urllib.request, "urlopen", strange)
    with pytest.raises(UserError, match="cannot download"):
        inception_weights.download()


@pytest.mark.parametrize("name", ["state_dict_zip.pth", "state_dict_legacy.pth"])
def test_state_dicts_in_both_formats(name):
    found = read_state_dict(golden(name))
    with np.load(golden("state_dict.npz")) as expected:
        assert sorted(found) == sorted(expected.files)
        for key in found:
            assert found[key].dtype == expected[key].dtype
            np.testing.assert_array_equal(found[key], expected[key])


class Attack:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_state_dict_is_never_run(tmp_path, zipped, protocol):
    code = pickle.dumps(Attack(tmp_path / "owned"), protocol)
    path = tmp_path / "weights.pth"
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", code)
    else:
        path.write_bytes(code)
    with pytest.raises(UserError, match=r"is no PyTorch state dict that can be read: it (asks for|uses)"):
        read_state_dict(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["state_dict_zip.pth", "state_dict_legacy.pth"])
def test_damaged_state_dicts_are_refused(tmp_path, name):
    """Cut anywhere, or with a byte changed: either the same arrays' names come out, or one line of error."""
    content = golden(name).read_bytes()
    shapes = [array.shape for array in read_state_dict(golden(name)).values()]
    path = tmp_path / name
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at])
        with pytest.raises(UserError, match="is no PyTorch state dict"):
            read_state_dict(path)
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            found = read_state_dict(path)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert all(isinstance(array, np.ndarray) for array in found.values())
            assert sorted(array.shape for array in found.values()) == sorted(shapes)
