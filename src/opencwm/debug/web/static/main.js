// The page: keys and buttons, growing runs, futures.

const KEYS = [
  ['s', 'step', 'Step', 'to the next frame, into calls'],
  ['n', 'over', 'Over', 'to the next frame here or further out'],
  ['o', 'out', 'Out', 'out of this function'],
  ['c', 'continue', 'Continue', 'on to a breakpoint or the end'],
  ['S', 'back', 'Back', 'to the previous frame'],
  ['N', 'backOver', 'Back over', 'over, backwards'],
  ['O', 'backOut', 'Back out', 'back to the caller'],
  ['C', 'reverse', 'Reverse', 'back to a breakpoint or the start'],
];
const OTHER_KEYS = [
  ['Home, End', 'to the first and the last known frame'],
  ['[ ]', 'to the previous and the next time at this line'],
  ['b', 'breakpoint on this line'],
  ['d', 'to the first difference from the real run'],
  ['e', 'change a variable: see that future'],
  ['l', 'to the next run or future'],
  ['t', 'light or dark'],
  ['?', 'this list'],
];
const CHUNK = 20000;

class Page {
  constructor(data) {
    this.data = data;
    this.live = data.token !== null;
    this.points = new Set();
    this.breakable = new Set(data.breakable);
    this.lanes = data.lanes.map((about) => {
      const lane = new Lane(about);
      lane.append(data.rows[about.number] || []);
      return lane;
    });
    this.lane = this.lanes[0];
    this.position = 0;
    this.busy = false;
    this.view = new View(this);
  }

  get real() { return this.lanes.find((lane) => lane.kind === 'real'); }

  start() {
    document.title = this.data.title;
    byId('title').textContent = this.data.title;
    const button = ([key, name, label, about]) => make('button', { id: `move-${name}`, title: about, 'aria-keyshortcuts': key, onclick: () => this.move(name) }, label, make('kbd', { 'aria-hidden': 'true' }, key));
    byId('controls').append(...KEYS.map(button));
    byId('tools').append(
      make('button', { onclick: () => this.theme() }, 'Theme', make('kbd', { 'aria-hidden': 'true' }, 't')),
      this.live ? make('button', { onclick: () => this.save() }, 'Save page') : '',
      make('button', { onclick: () => this.help() }, 'Keys', make('kbd', { 'aria-hidden': 'true' }, '?')));
    document.documentElement.dataset.theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
    document.addEventListener('keydown', (event) => this.key(event));
    byId('scrubber').addEventListener('input', (event) => this.goTo(Number(event.target.value)));
    new ResizeObserver(() => this.view.lanes()).observe(byId('lanes'));
    if (!this.lane.rows.length) {
      this.say(`The run has no frames${this.lane.outcome ? `: ${this.lane.outcome}` : ''}.`);
      return;
    }
    this.refresh();
    if (this.live) this.fetchAll();
    if (this.data.waiting) this.wait();
  }

  refresh() {
    this.view.futures();
    this.view.lanes();
    this.view.frame();
  }

  say(text) { byId('status').textContent = text; }

  async ask(path, body) {
    const options = { headers: { 'X-Cwm-Token': this.data.token } };
    if (body) Object.assign(options, { method: 'POST', body: JSON.stringify(body) });
    const answer = await fetch(path, options);
    const result = await answer.json();
    if (result.error) throw new Error(result.error);
    return result;
  }

  // Rows up to frame `to`, which may make the run grow. Whether there are new ones.
  async grow(lane, to) {
    if (!this.live || lane.ended) return false;
    const before = lane.rows.length;
    const answer = await this.ask(`/api/rows?lane=${lane.number}&from=${before}&to=${to + 1}`);
    lane.append(answer.rows);
    lane.update(answer.lane);
    this.data.parting = answer.parting;
    if (answer.problem) throw new Error(answer.problem);
    return lane.rows.length > before || this.grow(lane, to);
  }

  // The rest of what the server knows already, in large pieces.
  async fetchAll() {
    for (const lane of this.lanes) {
      while (lane.rows.length < lane.known) await this.grow(lane, Math.min(lane.known, lane.rows.length + CHUNK) - 1);
    }
    this.view.futures();
    this.view.lanes();
  }

  async wait() {
    while (this.data.waiting) {
      await new Promise((done) => setTimeout(done, 400));
      Object.assign(this.data, await this.ask('/api/session'));
      for (const about of this.data.lanes) if (!this.lanes[about.number]) this.lanes.push(new Lane(about));
    }
    await this.fetchAll();
    this.view.frame();
  }

  async doing(action) {
    if (this.busy) return;
    this.busy = true;
    try { await action(); } catch (error) { this.say(error.message); } finally { this.busy = false; }
  }

  move(name) { return this.travel(MOVES[name]); }

  runTo(line) { return this.travel([1, () => (row) => row[AT] === line && row[EVENT] <= LINE]); }

  travel(movement) {
    return this.doing(async () => {
      const lane = this.lane, known = lane.rows.length;
      const at = await destination(lane, this.position, movement, this.points, async (wanted) => {
        if (!lane.ended) this.say(`Waiting for frame ${wanted}…`);
        return this.grow(lane, wanted);
      });
      this.position = at;
      if (lane.rows.length !== known) this.refresh(); else this.view.frame();
    });
  }

  goTo(number) {
    this.position = Math.max(0, Math.min(number, this.lane.rows.length - 1));
    this.view.frame();
  }

  walk(lane) {
    return this.doing(async () => {
      if (!lane.rows.length) await this.grow(lane, lane.fork);
      this.lane = lane;
      this.position = Math.min(this.position, lane.rows.length - 1);
      this.refresh();
    });
  }

  toggle(line) {
    if (!this.breakable.has(line)) { this.say(`Line ${line} never runs.`); return; }
    if (!this.points.delete(line)) this.points.add(line);
    this.view.frame();
  }

  occurrence(direction) {
    const row = this.lane.rows[this.position], seen = this.lane.lines.get(row[AT]);
    const others = seen ? seen.frames.filter((at) => (direction > 0 ? at > this.position : at < this.position)) : [];
    if (others.length) this.goTo(direction > 0 ? others[0] : others[others.length - 1]); else this.say('There is no other time at this line, as far as is known.');
  }

  askChange(name, text) {
    const field = make('input', { id: 'value', value: text, 'aria-describedby': 'about' });
    this.dialog(`Change ${name}`, [make('label', { for: 'value' }, 'New value, as Python writes it'), field,
      make('p', { id: 'about', class: 'note' }, 'The run goes on from here with that value, as a future of its own.')],
    () => this.change(name, field.value));
    field.select();
  }

  change(name, value) {
    return this.doing(async () => {
      const { lane: about } = await this.ask('/api/change', { lane: this.lane.number, frame: this.position, name, value });
      const lane = this.lanes[about.number] = new Lane(about);
      await this.grow(lane, about.fork);
      this.lane = lane;
      this.refresh();
    });
  }

  dialog(title, content, done) {
    const dialog = byId('dialog');
    const close = make('button', { type: 'button', onclick: () => dialog.close() }, done ? 'Cancel' : 'Close');
    const form = make('form', { method: 'dialog', onsubmit: () => done && done() }, make('h2', { id: 'dialog-title' }, title), ...content, done ? make('button', { type: 'submit' }, 'See that future') : '', ' ', close);
    dialog.replaceChildren(form);
    dialog.showModal();
  }

  help() {
    const entries = [...KEYS.map(([key, , , about]) => [key, about]), ...OTHER_KEYS];
    this.dialog('Keys', [make('dl', {}, ...entries.flatMap(([key, about]) => [make('dt', {}, make('kbd', {}, key)), make('dd', {}, about)]))]);
  }

  theme() {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === 'dark' ? 'light' : 'dark';
    this.view.lanes();
  }

  save() {
    return this.doing(async () => {
      const answer = await fetch('/api/export', { headers: { 'X-Cwm-Token': this.data.token } });
      const address = URL.createObjectURL(await answer.blob());
      make('a', { href: address, download: 'run.html' }).click();
      URL.revokeObjectURL(address);
    });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || byId('dialog').open) return;
    if (event.target instanceof HTMLInputElement && event.target.type !== 'range') return;
    const row = this.lane.rows[this.position];
    if (!row) return;
    const move = KEYS.find(([key]) => key === event.key);
    const other = {
      Home: () => this.goTo(0), End: () => this.goTo(this.lane.rows.length - 1), '[': () => this.occurrence(-1), ']': () => this.occurrence(1),
      b: () => this.toggle(row[AT]), d: () => (this.data.parting ? this.goTo(this.data.parting.frame) : this.say('No difference is known.')),
      e: () => { const [first] = [...Object.keys(row[CHANGED]), ...this.lane.locals(this.position).keys()]; if (this.live && first) this.askChange(first, this.lane.locals(this.position).get(first)); },
      l: () => this.walk(this.lanes[(this.lane.number + 1) % this.lanes.length]), t: () => this.theme(), '?': () => this.help(),
    }[event.key];
    if (!move && !other) return;
    event.preventDefault();
    if (move) this.move(move[1]); else other();
  }
}

const page = new Page(JSON.parse(byId('data').textContent));
globalThis.cwm = { page, Lane, MOVES, destination };
page.start();
