// Slices at their own resolution: numbers that a script brought, shown in a window of values.
const ROOM = 64 << 20; // pixels that stay unpacked

/** A slice file calls this; see pixels.py. */
window.medscanSlice = (facts) =>
  document.currentScript.dispatchEvent(new CustomEvent("slice", { detail: facts }));

function fetchSlice(address) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.addEventListener("slice", (event) => resolve(event.detail));
    script.addEventListener("error", () => reject(new Error("its file is missing")));
    script.addEventListener("load", () => reject(new Error("its file is damaged")));
    script.src = address;
    document.head.append(script);
    for (const name of ["load", "error"]) script.addEventListener(name, () => script.remove());
  });
}

async function inflate(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Undo the differences of one channel: the number of each pixel. */
function numbersOf(bytes, { rows, columns, width }) {
  const count = rows * columns, numbers = new Uint16Array(count), mask = width === 2 ? 0xffff : 0xff;
  for (let p = 0; p < count; p++) {
    const folded = width === 2 ? bytes[p] | (bytes[count + p] << 8) : bytes[p];
    const before = p % columns ? numbers[p - 1] : p ? numbers[p - columns] : 0;
    numbers[p] = (before + ((folded >>> 1) ^ -(folded & 1))) & mask;
  }
  return numbers;
}

class Pixels {
  static kept = new Map(); // by address, the longest unused first

  /** The slice at an address; it is read once while there is room. */
  static of(address) {
    const found = Pixels.kept.get(address) ?? Pixels.read(address);
    Pixels.kept.delete(address);
    Pixels.kept.set(address, found);
    return found;
  }

  static async read(address) {
    try {
      const facts = await fetchSlice(address), bytes = await inflate(facts.data);
      const pixels = new Pixels(facts, bytes);
      Pixels.tidy();
      return pixels;
    } catch (error) {
      Pixels.kept.delete(address);
      throw error;
    }
  }

  static async tidy() {
    let room = ROOM;
    for (const [address, slice] of [...Pixels.kept].reverse()) {
      const { rows, columns } = await slice.catch(() => ({ rows: 0, columns: 0 }));
      room -= rows * columns;
      if (room < 0 && address !== [...Pixels.kept.keys()].at(-1)) Pixels.kept.delete(address);
    }
  }

  constructor({ data: _, ...facts }, bytes) {
    Object.assign(this, facts);
    const size = this.rows * this.columns * this.width;
    if (bytes.length !== size * this.channels) throw new Error("its file is damaged");
    this.planes = [...Array(this.channels)].map((_, n) => numbersOf(bytes.subarray(n * size, (n + 1) * size), this));
  }

  /** Values of a pixel: one, or red, green and blue. */
  values(column, row) {
    return this.planes.map((numbers) => this.first + this.step * numbers[row * this.columns + column]);
  }

  /** Values below which a share of the pixels lies, for each of some shares. */
  quantiles(shares) {
    const [numbers] = this.planes, counts = new Uint32Array(65536);
    for (const number of numbers) counts[number]++;
    return shares.map((share) => {
      let left = share * (numbers.length - 1), number = 0;
      while (left >= counts[number]) left -= counts[number++];
      return this.first + this.step * number;
    });
  }

  /** Draw on a canvas: `low` black and `high` white, or the other way round. */
  paint(canvas, low, high, inverted) {
    const { rows, columns, planes, first, step } = this;
    if (canvas.width !== columns || canvas.height !== rows) Object.assign(canvas, { width: columns, height: rows });
    const span = Math.max(high - low, 1e-30), shades = new Uint8Array(this.width === 2 ? 65536 : 256);
    shades.forEach((_, number) => {
      const grey = Math.min(Math.max((first + step * number - low) / span, 0), 1);
      shades[number] = Math.round(255 * (inverted !== this.inverted ? 1 - grey : grey));
    });
    const image = new ImageData(columns, rows), out = image.data;
    const [red, green, blue] = planes.length === 3 ? planes : [planes[0], planes[0], planes[0]];
    for (let p = 0, q = 0; p < red.length; p++, q += 4) {
      out[q] = shades[red[p]];
      out[q + 1] = shades[green[p]];
      out[q + 2] = shades[blue[p]];
      out[q + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }
}
