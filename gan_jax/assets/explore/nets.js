// The nets of a GAN in plain JavaScript: what gan_jax/plain_layers.py makes of them, layer by layer.
// Numbers lie as in NumPy, the last axis first: an image [H, W, C] is H·W·C numbers, a kernel [4, 4, C, F] 16·C·F.
"use strict";

// A plain loop: Uint8Array.from would first make a list of all letters, hundreds of megabytes of a large net.
function bytesOf(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes.buffer;
}
const floatsOf = (text) => new Float32Array(bytesOf(text));

// float16 as float32: a sign, 5 bits of exponent, 10 of fraction; exponent 0 is for numbers below 2^-14.
function halvesOf(text) {
  const halves = new Uint16Array(bytesOf(text));
  const scales = Float32Array.from({ length: 32 }, (_, exponent) => 2 ** (Math.max(exponent, 1) - 25));
  return new Float32Array(halves).map((half) => {
    const exponent = (half >> 10) & 31;
    const fraction = (half & 1023) + (exponent ? 1024 : 0);
    return (half & 0x8000 ? -1 : 1) * fraction * scales[exponent];
  });
}

// y[at…] += x · kernel[from…], a row of a kernel
function addRow(y, at, x, kernel, from, features) {
  for (let f = 0; f < features; f++) y[at + f] += x * kernel[from + f];
}

const products = {
  dense(x, y, { kernel, channels, features }) {
    for (let c = 0; c < channels; c++) if (x[c]) addRow(y, 0, x[c], kernel, c * features, features);
  },
  // Transposed convolution: each pixel adds a window of 4 × 4 around its double place, as far as that is in the image.
  up(x, y, layer) {
    eachTap(layer, layer.height, layer.width, (small, large, tap) => {
      const { kernel, channels, features } = layer;
      for (let c = 0; c < channels; c++) {
        const value = x[small * channels + c];
        if (value) addRow(y, large * features, value, kernel, (tap * channels + c) * features, features);
      }
    });
  },
  // Convolution: the same places, from the larger image to the smaller one.
  down(x, y, layer) {
    eachTap(layer, layer.height / 2, layer.width / 2, (small, large, tap) => {
      const { kernel, channels, features } = layer;
      for (let c = 0; c < channels; c++) {
        const value = x[large * channels + c];
        if (value) addRow(y, small * features, value, kernel, (tap * channels + c) * features, features);
      }
    });
  },
};

// Calls visit(pixel of the image of height × width, pixel of that of twice the size, tap) for all that a kernel joins.
function eachTap(layer, height, width, visit) {
  for (let i = 0; i < height; i++)
    for (let j = 0; j < width; j++)
      for (let a = 0; a < 4; a++) {
        const row = 2 * i + a - 1;
        if (row < 0 || row >= 2 * height) continue;
        for (let b = 0; b < 4; b++) {
          const column = 2 * j + b - 1;
          if (column >= 0 && column < 2 * width)
            visit(i * width + j, row * 2 * width + column, 4 * a + b);
        }
      }
}

function makeLayer(layer) {
  const pixels = layer.height * layer.width * { dense: 1, up: 4, down: 1 / 4 }[layer.kind];
  return {
    ...layer,
    kernel: halvesOf(layer.kernel),
    biases: floatsOf(layer.biases),
    gains: layer.gains && floatsOf(layer.gains),
    output: new Float32Array(pixels * layer.features),
  };
}

// Of a table [classes or 1, features] the row of these shares of the classes.
function rowOf(table, features, shares) {
  if (table.length === features) return table;
  const row = new Float32Array(features);
  for (let k = 0; k < shares.length; k++) if (shares[k]) addRow(row, 0, shares[k], table, k * features, features);
  return row;
}

// What the layers make of x; `shares` are those of the classes, [1] where there are none. The array is used again.
function forward(layers, x, shares) {
  for (const layer of layers) {
    const { features, output, slope } = layer;
    output.fill(0);
    products[layer.kind](x, output, layer);
    const bias = rowOf(layer.biases, features, shares);
    const gain = layer.gains ? rowOf(layer.gains, features, shares) : new Float32Array(features).fill(1);
    for (let start = 0; start < output.length; start += features)
      for (let f = 0; f < features; f++) {
        const value = output[start + f] * gain[f] + bias[f];
        output[start + f] = value < 0 ? value * slope : value;
      }
    x = output;
  }
  return x;
}

// Of a GAN as the page's facts have it: images, and what D says of them.
function makeGan({ generator, discriminator, shape, pack, scores }) {
  const [g, d] = [generator.map(makeLayer), discriminator.map(makeLayer)];
  const image = new Float32Array(shape[0] * shape[1] * shape[2]);
  const packed = new Float32Array(image.length * pack);
  const table = floatsOf(scores.values);
  return {
    // An image in [-1, 1] from noise; the array is used again.
    generate(z, shares) {
      const raw = forward(g, z, shares);
      for (let i = 0; i < image.length; i++) image[i] = Math.tanh(raw[i]);
      return image;
    },
    // D's logit of an image, that a conditional D gives it as one of these classes.
    discriminate(image, shares) {
      const channels = shape[2];
      for (let i = 0; i < packed.length; i++) {
        const pixel = Math.floor(i / (channels * pack));
        packed[i] = image[pixel * channels + (i % channels)]; // a D that takes several sees equal ones
      }
      const logits = forward(d, packed, shares);
      return logits.length === 1 ? logits[0] : logits.reduce((sum, logit, k) => sum + logit * shares[k], 0);
    },
    // A logit as D's score, between the places of the table.
    score(logit) {
      const place = ((logit / scores.most + 1) / 2) * (table.length - 1);
      const at = Math.min(Math.max(place, 0), table.length - 1);
      const low = Math.min(Math.floor(at), table.length - 2);
      return table[low] + (at - low) * (table[low + 1] - table[low]);
    },
  };
}
