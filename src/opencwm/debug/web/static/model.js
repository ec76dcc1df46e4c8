// A run as the page knows it: rows (see rows.py), the state at any of them, and the movements of the timeline.

const CALL = 0, LINE = 1, RETURN = 2, EXCEPTION = 3;
const EVENT_NAMES = ['call', 'line', 'return', 'exception'];
const [EVENT, AT, FUNCTION, DEPTH, ACTIVATION, PREVIOUS, CALLER, CHANGED, VALUE, SURE, BRANCH, SURES, GUESSED, WHOLE] =
  Array.from({ length: 14 }, (_, number) => number);

class Lane {
  constructor(about) {
    this.rows = [];
    this.histories = new Map();
    this.lines = new Map();
    this.update(about);
  }

  update(about) {
    Object.assign(this, about);
  }

  // How sure the run was at each line, and how often it was there.
  append(rows) {
    for (const row of rows) {
      const number = this.rows.length;
      this.rows.push(row);
      if (row[EVENT] > LINE) continue;
      let line = this.lines.get(row[AT]);
      if (!line) this.lines.set(row[AT], line = { frames: [], sum: 0, guessed: 0 });
      line.frames.push(number);
      if (row[GUESSED]) { line.sum += row[SURE]; line.guessed += 1; }
      for (const name of Object.keys(row[CHANGED])) {
        const key = `${row[ACTIVATION]}:${name}`;
        if (!this.histories.has(key)) this.histories.set(key, []);
        this.histories.get(key).push([number, row[CHANGED][name]]);
      }
    }
  }

  get ended() { return this.outcome !== null && this.rows.length >= this.known; }

  locals(number) {
    const changes = [];
    let at = number;
    for (; at >= 0 && !this.rows[at][WHOLE]; at = this.rows[at][PREVIOUS]) changes.push(this.rows[at][CHANGED]);
    const state = new Map(at >= 0 ? Object.entries(this.rows[at][WHOLE]) : []);
    for (const change of changes.reverse()) {
      for (const [name, text] of Object.entries(change)) {
        if (text === null) state.delete(name); else state.set(name, text);
      }
    }
    return state;
  }

  stack(number) {
    const found = [];
    for (let at = number; at >= 0; at = this.rows[at][CALLER]) found.unshift(at);
    return found;
  }

  history(number, name) {
    return this.histories.get(`${this.rows[number][ACTIVATION]}:${name}`) || [];
  }
}

// Each movement: its direction, and a test of the frames that it may end at.
const MOVES = {
  step: [1, () => () => true],
  over: [1, (lane, row) => (other) => other[ACTIVATION] === row[ACTIVATION] || other[DEPTH] < row[DEPTH]],
  out: [1, (lane, row) => (other) => other[DEPTH] < row[DEPTH]],
  continue: [1, () => () => false],
  back: [-1, () => () => true],
  backOver: [-1, (lane, row) => (other) => other[ACTIVATION] === row[ACTIVATION] || other[DEPTH] < row[DEPTH]],
  backOut: [-1, (lane, row) => (other) => other === lane.rows[row[CALLER]]],
  reverse: [-1, () => () => false],
};

// The frame that a movement leads to. `grow` is asked for more rows and says whether there are any.
async function destination(lane, from, [direction, test], points, grow) {
  const wanted = test(lane, lane.rows[from]);
  const stops = (row) => row[EVENT] <= LINE && points.has(row[AT]);
  for (let at = from + direction; ; at += direction) {
    if (at < 0) return 0;
    if (at >= lane.rows.length && !(await grow(at))) return lane.rows.length - 1;
    if (wanted(lane.rows[at]) || stops(lane.rows[at])) return at;
  }
}

// The first frame of a future that differs from its parent's, or -1.
function firstDifference(lane, parent) {
  const end = Math.min(lane.rows.length, parent.rows.length);
  for (let at = lane.fork; at < end; at++) {
    const one = lane.rows[at], other = parent.rows[at];
    if ([EVENT, AT, FUNCTION, DEPTH, VALUE].some((part) => one[part] !== other[part])) return at;
    const ours = lane.locals(at), theirs = parent.locals(at);
    if (ours.size !== theirs.size || [...ours].some(([name, text]) => theirs.get(name) !== text)) return at;
  }
  return lane.rows.length === parent.rows.length ? -1 : end;
}

function level(sure) { return sure >= 0.9 ? 'sure' : sure >= 0.6 ? 'likely' : 'unsure'; }
function percent(sure) { return `${Math.floor(sure * 100)}%`; }
