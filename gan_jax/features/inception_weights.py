"""Inception v3's weights: downloaded, verified, put into Flax's order; and the network made of them."""

import http.client
import shutil
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from tqdm import tqdm

from gan_jax.errors import UserError
from gan_jax.features.inception import InceptionV3
from gan_jax.features.network import FeatureNetwork, batched
from gan_jax.features.torch_file import read_state_dict
from gan_jax.storage import cache_folder, replacing, sha256_of_file

FILE_NAME = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE_NAME}"
# Agrees with the eight digits in the file's name, as PyTorch's hub checks them, and with every record found.
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

WIDTH, CLASSES = 2048, 1008  # of its features, and of its probabilities
BATCH_SIZE = 50  # at 299×299 an image takes some 20 MB of activations

_TORCH_LEAF = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def download() -> Path:
    """PyTorch-fid's published weights from the cache folder, or else from the network (91 MB).

    Raises:
      UserError: where there is no network, or what came is not the file.
    """
    path = cache_folder() / FILE_NAME
    if path.exists() and sha256_of_file(path) == SHA256:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as new:
            _fetch(new)
            if sha256_of_file(new) != SHA256:
                raise UserError(f"{URL} did not give the file whose SHA-256 is {SHA256}; try again.")
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"cannot download {URL} ({error}); get it elsewhere and name the file.") from error
    return path


def _fetch(target: Path) -> None:
    with urllib.request.urlopen(URL, timeout=30) as source, target.open("wb") as file:
        size = int(source.headers.get("Content-Length") or 0)
        with tqdm.wrapattr(source, "read", total=size, desc=FILE_NAME, disable=None) as reader:
            shutil.copyfileobj(reader, file)


def variables_from_torch(state: dict[str, np.ndarray]) -> Any:
    """Flax variables of `InceptionV3` from a state dict; kernels go from [out,in,h,w] to [h,w,in,out].

    Raises:
      UserError: where an array is missing, superfluous or of another shape.
    """
    image = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.uint8)
    shapes: dict[tuple, Any] = flatten_dict(jax.eval_shape(InceptionV3().init, jax.random.key(0), image))
    names = {(*at, leaf): ".".join((*at[1:], _TORCH_LEAF[leaf])) for *at, leaf in shapes}
    unused = ("num_batches_tracked",)  # of use in training alone
    strange = {name for name in state if not name.endswith(unused)} ^ set(names.values())
    if strange:
        raise UserError(
            f"these are not the weights of 2015-12-05: '{min(strange)}' is missing or superfluous."
        )
    flat = {}
    for at, name in names.items():
        array = state[name].transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[shapes[at].ndim])
        if array.shape != shapes[at].shape:
            raise UserError(
                f"these are not the weights of 2015-12-05: '{name}' has shape {state[name].shape}."
            )
        flat[at] = array
    return unflatten_dict(flat)


@jax.jit
def _infer(variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    with jax.default_matmul_precision("highest"):  # no TF32 on a GPU
        features, logits = cast(tuple, InceptionV3().apply(variables, images))
    return features, jax.nn.softmax(logits - variables["params"]["fc"]["bias"][None])


def load_inception(weights: Path | None = None, sha256: str | None = SHA256) -> FeatureNetwork:
    """Inception v3's pool3 features [n,2048], and probabilities [n,1008] for the Inception score.

    The probabilities leave the last layer's bias out, as the program of Salimans 2016 does, and after it the
    others; published scores are these.

    Args:
      weights: PyTorch-fid's file; downloaded, or taken from the cache folder, where None.
      sha256: what the file's hash must be; None takes any weights of this shape.

    Raises:
      UserError: where there is no such file, or it is damaged or another one.
    """
    path = weights or download()
    if not path.is_file():
        raise UserError(
            f"{path} {'is no file' if path.exists() else 'does not exist'}; it should be {FILE_NAME} from {URL}."
        )
    found = sha256_of_file(path)
    if sha256 and found != sha256:
        raise UserError(f"{path} is not {FILE_NAME}: its SHA-256 is {found}, not {sha256}.")
    variables = jax.device_put(variables_from_torch(read_state_dict(path)))
    apply = batched(partial(_infer, variables), BATCH_SIZE, (None, None, None))
    return FeatureNetwork("inception-2015-12-05", found, apply, WIDTH, CLASSES)
