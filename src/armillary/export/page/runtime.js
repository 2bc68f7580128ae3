// Runs the graphs of armillary.export.graph: operators of ONNX with one row of each array.
// A tensor is {shape, data}, its numbers in a Float32Array whatever their type is.
"use strict";

const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);
const tensor = (shape, data) => ({ shape, data: data || new Float32Array(sizeOf(shape)) });

// The steps with which an array of this shape is walked through, 0 where it is repeated.
function stridesFor(shape, rank) {
  const strides = new Array(rank).fill(0);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1) strides[i + rank - shape.length] = step;
    step *= shape[i];
  }
  return strides;
}

function broadcastShape(tensors) {
  const rank = Math.max(...tensors.map((t) => t.shape.length));
  const shape = new Array(rank).fill(1);
  for (const t of tensors) {
    t.shape.forEach((n, i) => {
      if (n !== 1) shape[i + rank - t.shape.length] = n;
    });
  }
  return shape;
}

// Calls visit(index in the result, offset in each operand) for every entry of a shape.
function walk(shape, strides, visit) {
  const rank = shape.length, count = sizeOf(shape);
  const at = new Array(rank).fill(0), offsets = strides.map(() => 0);
  for (let i = 0; i < count; i++) {
    visit(i, offsets);
    for (let axis = rank - 1; axis >= 0; axis--) {
      for (let k = 0; k < offsets.length; k++) offsets[k] += strides[k][axis];
      if (++at[axis] < shape[axis]) break;
      for (let k = 0; k < offsets.length; k++) offsets[k] -= strides[k][axis] * shape[axis];
      at[axis] = 0;
    }
  }
}

// Whether an array of a shape has one entry for each block of a larger one, as biases of images.
function isPerBlock(shape, whole) {
  const last = shape.reduce((found, n, i) => (n === 1 ? found : i), -1);
  return shape.length === whole.length && shape.every((n, i) => i > last || n === whole[i]);
}

function unary(f) {
  return ([x]) => {
    const out = tensor(x.shape);
    for (let i = 0; i < x.data.length; i++) out.data[i] = f(x.data[i]);
    return [out];
  };
}

function elementwise(f) {
  return (given) => {
    const shape = broadcastShape(given), out = tensor(shape);
    const [a, b, c] = given.map((t) => t.data), n = out.data.length;
    if (given.length === 2 && a.length === n && b.length === n) {
      for (let i = 0; i < n; i++) out.data[i] = f(a[i], b[i]);
    } else if (given.length === 2 && a.length === n && b.length === 1) {
      for (let i = 0; i < n; i++) out.data[i] = f(a[i], b[0]);
    } else if (given.length === 2 && a.length === n && isPerBlock(given[1].shape, shape)) {
      const block = n / b.length;
      for (let j = 0, i = 0; j < b.length; j++) {
        for (const end = i + block; i < end; i++) out.data[i] = f(a[i], b[j]);
      }
    } else {
      const strides = given.map((t) => stridesFor(t.shape, shape.length));
      const one = c ? (p, q, r) => f(a[p], b[q], c[r]) : (p, q) => f(a[p], b[q]);
      walk(shape, strides, (i, [p, q, r]) => {
        out.data[i] = one(p, q, r);
      });
    }
    return [out];
  };
}

function transpose([x], { perm }) {
  const shape = perm.map((axis) => x.shape[axis]);
  const long = (axes, of) => axes.filter((axis) => of[axis] !== 1).join();
  if (long(perm, x.shape) === long(perm.map((_, i) => i), x.shape)) return [tensor(shape, x.data)];
  const own = stridesFor(x.shape, x.shape.length), out = tensor(shape);
  walk(shape, [perm.map((axis) => own[axis])], (i, [p]) => {
    out.data[i] = x.data[p];
  });
  return [out];
}

function reshape([x, to]) {
  const shape = Array.from(to.data), open = shape.indexOf(-1);
  if (open >= 0) shape[open] = -x.data.length / sizeOf(shape);
  return [tensor(shape, x.data)];
}

function expand([x, to]) {
  const shape = broadcastShape([x, { shape: Array.from(to.data) }]), out = tensor(shape);
  walk(shape, [stridesFor(x.shape, shape.length)], (i, [p]) => {
    out.data[i] = x.data[p];
  });
  return [out];
}

// An axis as (entries before it, its own, entries after it).
function around(shape, axis) {
  const own = axis < 0 ? axis + shape.length : axis;
  return [sizeOf(shape.slice(0, own)), shape[own], sizeOf(shape.slice(own + 1)), own];
}

function concat(given, { axis }) {
  const shape = given[0].shape.slice(), own = around(shape, axis)[3];
  shape[own] = given.reduce((sum, t) => sum + t.shape[own], 0);
  const out = tensor(shape), [before, whole, after] = around(shape, axis);
  let start = 0;
  for (const t of given) {
    const part = t.shape[own] * after;
    for (let i = 0; i < before; i++) {
      out.data.set(t.data.subarray(i * part, (i + 1) * part), i * whole * after + start);
    }
    start += part;
  }
  return [out];
}

function split([x, sizes], { axis }) {
  const [before, whole, after, own] = around(x.shape, axis);
  let start = 0;
  return Array.from(sizes.data, (size) => {
    const shape = x.shape.slice();
    shape[own] = size;
    const out = tensor(shape), part = size * after;
    for (let i = 0; i < before; i++) {
      const from = i * whole * after + start;
      out.data.set(x.data.subarray(from, from + part), i * part);
    }
    start += part;
    return out;
  });
}

function slice([x, starts, ends, axes, steps]) {
  const rank = x.shape.length, own = stridesFor(x.shape, rank);
  const shape = x.shape.slice(), strides = own.slice();
  let first = 0;
  axes.data.forEach((axis, i) => {
    const end = Math.min(ends.data[i], x.shape[axis]);
    shape[axis] = Math.ceil((end - starts.data[i]) / steps.data[i]);
    first += starts.data[i] * own[axis];
    strides[axis] = own[axis] * steps.data[i];
  });
  const out = tensor(shape);
  walk(shape, [strides], (i, [p]) => {
    out.data[i] = x.data[first + p];
  });
  return [out];
}

function reduce(start, f) {
  return ([x, axes]) => {
    const dropped = new Set(axes.data), rank = x.shape.length;
    const thin = x.shape.map((n, axis) => (dropped.has(axis) ? 1 : n));
    const out = tensor(thin);
    out.data.fill(start);
    walk(x.shape, [stridesFor(thin, rank)], (i, [p]) => {
      out.data[p] = f(out.data[p], x.data[i]);
    });
    return [tensor(x.shape.filter((_, axis) => !dropped.has(axis)), out.data)];
  };
}

function argmax([x], { axis }) {
  const [before, count, after, own] = around(x.shape, axis);
  const out = tensor(x.shape.filter((_, i) => i !== own));
  for (let i = 0; i < before; i++) {
    for (let j = 0; j < after; j++) {
      let best = 0;
      for (let k = 1; k < count; k++) {
        if (x.data[(i * count + k) * after + j] > x.data[(i * count + best) * after + j]) best = k;
      }
      out.data[i * after + j] = best;
    }
  }
  return [out];
}

// (rows, inner) by (inner, columns), for each entry of equal leading axes.
function matmul([a, b]) {
  const rows = a.shape[a.shape.length - 2], inner = a.shape[a.shape.length - 1];
  const columns = b.shape[b.shape.length - 1];
  const leading = a.shape.slice(0, -2), count = sizeOf(leading);
  const shared = b.shape.length === 2;
  const out = tensor([...leading, rows, columns]);
  for (let n = 0; n < count; n++) {
    const left = n * rows * inner, right = shared ? 0 : n * inner * columns;
    for (let i = 0; i < rows; i++) {
      const to = (n * rows + i) * columns;
      if (columns === 1) {
        let sum = 0;
        for (let k = 0; k < inner; k++) sum += a.data[left + i * inner + k] * b.data[right + k];
        out.data[to] = sum;
        continue;
      }
      for (let k = 0; k < inner; k++) {
        const value = a.data[left + i * inner + k];
        if (value !== 0) {
          const from = right + k * columns;
          for (let j = 0; j < columns; j++) out.data[to + j] += value * b.data[from + j];
        }
      }
    }
  }
  return [out];
}

// One image: what a pixel adds to all that it touches is a product with the kernel, then summed.
function convTranspose([x, kernel], { strides, pads }) {
  const [, inputs, high, wide] = x.shape, [, outputs, rows, columns] = kernel.shape;
  const tall = (high - 1) * strides[0] + rows - pads[0] - pads[2];
  const broad = (wide - 1) * strides[1] + columns - pads[1] - pads[3];
  const out = tensor([1, outputs, tall, broad]), taps = outputs * rows * columns;
  const touched = new Float32Array(taps);
  for (let y = 0; y < high; y++) {
    for (let z = 0; z < wide; z++) {
      touched.fill(0);
      for (let c = 0; c < inputs; c++) {
        const value = x.data[(c * high + y) * wide + z];
        if (value !== 0) {
          const from = c * taps;
          for (let i = 0; i < taps; i++) touched[i] += value * kernel.data[from + i];
        }
      }
      for (let o = 0, i = 0; o < outputs; o++) {
        for (let r = 0; r < rows; r++) {
          const down = y * strides[0] + r - pads[0];
          const row = (o * tall + down) * broad;
          for (let k = 0; k < columns; k++, i++) {
            const right = z * strides[1] + k - pads[1];
            if (down >= 0 && down < tall && right >= 0 && right < broad) {
              out.data[row + right] += touched[i];
            }
          }
        }
      }
    }
  }
  return [out];
}

function cast([x], { to }) {
  if (to === "float32") return [x];
  if (to === "bool") return unary((v) => (v !== 0 ? 1 : 0))([x]);
  return unary(to === "uint8" ? (v) => Math.trunc(v) & 255 : Math.trunc)([x]);
}

const OPERATORS = {
  Abs: unary(Math.abs),
  Add: elementwise((a, b) => a + b),
  And: elementwise((a, b) => (a && b ? 1 : 0)),
  ArgMax: argmax,
  Cast: cast,
  Ceil: unary(Math.ceil),
  Concat: concat,
  ConvTranspose: convTranspose,
  Cos: unary(Math.cos),
  Div: elementwise((a, b) => a / b),
  Equal: elementwise((a, b) => (a === b ? 1 : 0)),
  Exp: unary(Math.exp),
  Expand: expand,
  Floor: unary(Math.floor),
  Greater: elementwise((a, b) => (a > b ? 1 : 0)),
  GreaterOrEqual: elementwise((a, b) => (a >= b ? 1 : 0)),
  Identity: (given) => given,
  Less: elementwise((a, b) => (a < b ? 1 : 0)),
  LessOrEqual: elementwise((a, b) => (a <= b ? 1 : 0)),
  Log: unary(Math.log),
  MatMul: matmul,
  Max: elementwise(Math.max),
  Min: elementwise(Math.min),
  Mul: elementwise((a, b) => a * b),
  Neg: unary((a) => -a),
  Not: unary((a) => (a ? 0 : 1)),
  Or: elementwise((a, b) => (a || b ? 1 : 0)),
  Pow: elementwise(Math.pow),
  Reciprocal: unary((a) => 1 / a),
  ReduceMax: reduce(-Infinity, Math.max),
  ReduceMin: reduce(Infinity, Math.min),
  ReduceProd: reduce(1, (a, b) => a * b),
  ReduceSum: reduce(0, (a, b) => a + b),
  Reshape: reshape,
  Sigmoid: unary((a) => 1 / (1 + Math.exp(-a))),
  Sign: unary(Math.sign),
  Sin: unary(Math.sin),
  Slice: slice,
  Split: split,
  Sqrt: unary(Math.sqrt),
  Sub: elementwise((a, b) => a - b),
  Tanh: unary(Math.tanh),
  Transpose: transpose,
  Where: elementwise((a, b, c) => (a ? b : c)),
};

// Returns a function from named tensors to named tensors.
// graph: {inputs, outputs, nodes: [[operator, inputs, outputs, attributes]], constants}
function program(graph, weights) {
  const constants = new Map();
  for (const [name, { shape, start, numbers }] of Object.entries(graph.constants)) {
    const data = numbers
      ? Float32Array.from(numbers)
      : new Float32Array(weights, start, sizeOf(shape));
    constants.set(name, tensor(shape, data));
  }
  return (given) => {
    const known = new Map(constants);
    for (const name of graph.inputs) known.set(name, given[name]);
    for (const [operator, inputs, outputs, attributes] of graph.nodes) {
      const found = OPERATORS[operator](inputs.map((name) => known.get(name)), attributes);
      outputs.forEach((name, i) => known.set(name, found[i]));
    }
    return Object.fromEntries(graph.outputs.map((name) => [name, known.get(name)]));
  };
}
