// Heatmaps of patch scores.
/** Red, green and blue of 256 shades, by the name of a colour map. */
const SHADES = Object.fromEntries(Object.entries(colours.maps)
  .map(([name, hex]) => [name, hex.match(/../g).map((pair) => parseInt(pair, 16))]));

/** The middles of equal parts, as shares of the whole. */
const evenly = (count) => Array.from({ length: count }, (_, p) => (p + 0.5) / count);

class Maps {
  constructor({ maps, grid, low, high, scale }) {
    const bytes = Uint8Array.from(atob(maps), (c) => c.charCodeAt(0));
    this.steps = new Uint16Array(bytes.buffer);
    Object.assign(this, { grid, low, span: (high - low) / 65535, scale });
  }

  /** Patch scores of a slice on side x side points. */
  field(position, side) {
    const points = evenly(side);
    return this.scores(position, points, points);
  }

  /** Patch scores of a slice where columns at `us` meet rows at `vs`, interpolated between patch centres. */
  scores(position, us, vs) {
    const { grid, steps } = this, first = position * grid * grid, scores = new Float32Array(us.length * vs.length);
    const neighbours = (share) => {
      const x = clamp(share * grid - 0.5, 0, grid - 1);
      return [Math.floor(x), Math.min(Math.floor(x) + 1, grid - 1), x % 1];
    };
    const columns = us.map(neighbours);
    vs.map(neighbours).forEach(([top, bottom, down], j) => columns.forEach(([left, right, across], i) => {
      const line = (row) => {
        const start = first + row * grid;
        return steps[start + left] * (1 - across) + steps[start + right] * across;
      };
      scores[j * us.length + i] = this.low + this.span * (line(top) * (1 - down) + line(bottom) * down);
    }));
    return scores;
  }

  /** Where a score lies on the scale, 0 to 1; its middle is the detector's threshold. */
  place(score) {
    const [low, middle, high] = this.scale;
    return clamp(0.5 + (score - middle) * (0.5 / (score < middle ? middle - low : high - middle)), 0, 1);
  }

  /** The score at a place of the scale. */
  at(place) {
    const [low, middle, high] = this.scale;
    return middle + (2 * place - 1) * (place < 0.5 ? middle - low : high - middle);
  }

  /** A score always has the same colour; what is below a threshold, a place on the scale, fades. */
  paint(canvas, position, name, threshold = 0.5) {
    this.shade(canvas, this.field(position, canvas.width), name, threshold);
  }

  /** Draw scores, one a pixel; NaN stays clear. */
  shade(canvas, scores, name, threshold) {
    const context = canvas.getContext("2d"), shades = SHADES[name];
    const image = context.createImageData(canvas.width, canvas.height);
    scores.forEach((score, p) => {
      if (Number.isNaN(score)) return;
      const shade = Math.round(this.place(score) * 255), faded = shade + Math.round((0.5 - threshold) * 255);
      for (let c = 0; c < 3; c++) image.data[4 * p + c] = shades[3 * shade + c];
      image.data[4 * p + 3] = 255 * colours.alpha[clamp(faded, 0, 255)];
    });
    context.putImageData(image, 0, 0);
  }

  /** The scale on mid-grey tissue, as the address of a picture. */
  static legend(name) {
    const canvas = Object.assign(document.createElement("canvas"), { width: 256, height: 1 });
    const context = canvas.getContext("2d"), image = context.createImageData(256, 1);
    for (let shade = 0; shade < 256; shade++) {
      const opacity = colours.opacity * colours.alpha[shade];
      for (let c = 0; c < 3; c++) image.data[4 * shade + c] = 110 * (1 - opacity) + SHADES[name][3 * shade + c] * opacity;
      image.data[4 * shade + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    return canvas.toDataURL();
  }

  /** Where scores cross a level, as an SVG path in a square of 100. */
  contour(position, level) {
    return Maps.outline(this.field(position, 64), 64, level);
  }

  /** The same of scores in rows of `columns`; NaN lies below any level. */
  static outline(scores, columns, level) {
    const rows = scores.length / columns, parts = [], CORNERS = [[0, 0], [1, 0], [1, 1], [0, 1]];
    const above = (p) => (Number.isNaN(scores[p]) ? -Infinity : scores[p] - level);
    for (let j = 0; j + 1 < rows; j++) {
      for (let i = 0; i + 1 < columns; i++) {
        const corner = CORNERS.map(([x, y]) => above((j + y) * columns + i + x));
        const ends = [];
        corner.forEach((a, c) => {
          const b = corner[(c + 1) % 4], [x, y] = CORNERS[c], [u, v] = CORNERS[(c + 1) % 4];
          if (a >= 0 === b >= 0) return;
          const t = b === -Infinity ? 0 : a === -Infinity ? 1 : a / (a - b);
          const point = (from, to, add, count) => (((add + from + t * (to - from) + 0.5) * 100) / count).toFixed(2);
          ends.push(`${point(x, u, i, columns)} ${point(y, v, j, rows)}`);
        });
        for (let e = 0; e < ends.length; e += 2) parts.push(`M${ends[e]}L${ends[e + 1]}`);
      }
    }
    return parts.join("");
  }

  score(position, x, y) {
    return this.scores(position, [x], [y])[0];
  }
}
