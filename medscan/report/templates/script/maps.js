// Heatmaps of patch scores.
const colours = data($("#colours"));
const RGB = colours.rgb.match(/../g).map((pair) => parseInt(pair, 16));

class Maps {
  constructor({ maps, grid, low, high, scale }) {
    const bytes = Uint8Array.from(atob(maps), (c) => c.charCodeAt(0));
    this.steps = new Uint16Array(bytes.buffer);
    Object.assign(this, { grid, low, span: (high - low) / 65535, scale });
  }

  /** Patch scores of a slice on side x side points, interpolated between patch centres. */
  field(position, side) {
    const { grid, steps } = this, first = position * grid * grid, scores = new Float32Array(side * side);
    const neighbours = [...Array(side)].map((_, p) => {
      const x = Math.min(Math.max(((p + 0.5) * grid) / side - 0.5, 0), grid - 1);
      return [Math.floor(x), Math.min(Math.floor(x) + 1, grid - 1), x % 1];
    });
    neighbours.forEach(([top, bottom, down], j) => neighbours.forEach(([left, right, across], i) => {
      const line = (row) => {
        const start = first + row * grid;
        return steps[start + left] * (1 - across) + steps[start + right] * across;
      };
      scores[j * side + i] = this.low + this.span * (line(top) * (1 - down) + line(bottom) * down);
    }));
    return scores;
  }

  paint(canvas, position) {
    const side = canvas.width, context = canvas.getContext("2d");
    const image = context.createImageData(side, side), [low, middle, high] = this.scale;
    const below = 0.5 / (middle - low), above = 0.5 / (high - middle);
    this.field(position, side).forEach((score, p) => {
      const value = 0.5 + (score - middle) * (score < middle ? below : above);
      const shade = Math.round(Math.min(Math.max(value, 0), 1) * 255);
      image.data.set(RGB.slice(3 * shade, 3 * shade + 3), 4 * p);
      image.data[4 * p + 3] = 255 * colours.alpha[shade];
    });
    context.putImageData(image, 0, 0);
  }

  /** Where scores cross the threshold for patches, as an SVG path in a square of 100. */
  contour(position, side = 64) {
    const scores = this.field(position, side), level = this.scale[1], parts = [];
    const CORNERS = [[0, 0], [1, 0], [1, 1], [0, 1]];
    for (let j = 0; j + 1 < side; j++) {
      for (let i = 0; i + 1 < side; i++) {
        const corner = CORNERS.map(([x, y]) => scores[(j + y) * side + i + x] - level);
        const ends = [];
        corner.forEach((a, c) => {
          const b = corner[(c + 1) % 4], [x, y] = CORNERS[c], [u, v] = CORNERS[(c + 1) % 4];
          if (a >= 0 === b >= 0) return;
          const t = a / (a - b), point = (from, to, add) => ((add + from + t * (to - from) + 0.5) * 100) / side;
          ends.push(`${point(x, u, i).toFixed(2)} ${point(y, v, j).toFixed(2)}`);
        });
        for (let e = 0; e < ends.length; e += 2) parts.push(`M${ends[e]}L${ends[e + 1]}`);
      }
    }
    return parts.join("");
  }

  score(position, x, y) {
    return this.field(position, 64)[Math.floor(y * 64) * 64 + Math.floor(x * 64)];
  }
}
