// What the page shows of a frame. Texts of programs and models only ever become text nodes, never markup.

const byId = (id) => document.getElementById(id);

class View {
  constructor(page) {
    this.page = page;
    this.drawnAs = '';
  }

  // Everything that depends on the frame.
  frame() {
    const { lane, position } = this.page;
    const row = lane.rows[position];
    this.source(row);
    this.about(row);
    this.locals(row);
    this.stack();
    this.cursor();
    this.page.say(this.sentence(row));
  }

  sentence(row) {
    const { lane, position } = this.page;
    const changes = Object.entries(row[CHANGED]).map(([name, text]) => (text === null ? `${name} deleted` : `${name} = ${short(text, 60)}`));
    if (row[VALUE] !== null) changes.push(`${row[EVENT] === RETURN ? 'returns' : 'raises'} ${short(row[VALUE], 60)}`);
    return `Frame ${position} of ${lane.known - 1}${lane.ended ? '' : ' so far'}: ${EVENT_NAMES[row[EVENT]]}, line ${row[AT]} in ${row[FUNCTION]}${changes.length ? `; ${changes.join(', ')}` : ''}`;
  }

  source(row) {
    const { lane, points, data } = this.page;
    const list = byId('source');
    const key = `${lane.kind === 'edited' ? lane.number : 'all'}`;
    if (this.drawnAs !== key) {
      this.drawnAs = key;
      list.replaceChildren(...lane.source.map((text, index) => this.line(text, index + 1)));
    }
    const real = this.page.real && this.page.real !== lane ? this.page.real.rows[this.page.position] : null;
    for (const [index, item] of [...list.children].entries()) {
      const number = index + 1, seen = lane.lines.get(number);
      const here = number === row[AT], there = real && !here && number === real[AT];
      item.className = `${here ? 'here' : ''} ${there ? 'there' : ''} ${data.parting && data.parting.line === number && this.page.position >= data.parting.blamed ? 'blamed' : ''}`.trim();
      const [gutter, arrow, heat, code, times] = item.children;
      gutter.setAttribute('aria-pressed', points.has(number));
      arrow.textContent = here ? '▶' : there ? '▷' : '';
      if (here) code.setAttribute('aria-current', 'step'); else code.removeAttribute('aria-current');
      const mean = seen && seen.guessed ? seen.sum / seen.guessed : null;
      heat.className = `heat ${mean === null ? '' : level(mean)}`;
      heat.title = mean === null ? '' : `${percent(mean)} sure on average at line ${number}`;
      times.textContent = seen && seen.frames.length > 1 ? (here && row[EVENT] <= LINE ? `${rank(seen.frames, this.page.position)}/${seen.frames.length}` : `×${seen.frames.length}`) : '';
      if (here && !inSight(item, byId('source-panel'))) item.scrollIntoView({ block: 'center' });
    }
  }

  line(text, number) {
    const runs = this.page.breakable.has(number);
    return make('li', {},
      make('button', { class: 'gutter', 'aria-pressed': 'false', 'aria-label': `Breakpoint on line ${number}`, tabindex: runs ? 0 : -1, disabled: !runs, onclick: () => this.page.toggle(number) }, String(number)),
      make('span', { class: 'arrow', 'aria-hidden': 'true' }),
      make('span', { class: 'heat' }),
      make('button', { class: 'code', tabindex: -1, disabled: !runs, title: runs ? 'Run to this line' : null, 'aria-label': text.trim() ? null : `Line ${number}, blank`, onclick: () => this.page.runTo(number) }, text || ' '),
      make('span', { class: 'times' }));
  }

  about(row) {
    const { lane, position, data, real } = this.page;
    const parts = [make('div', {}, make('strong', {}, `${position}`), ` of ${lane.known - 1}${lane.ended ? '' : ' so far'} · ${EVENT_NAMES[row[EVENT]]} · line ${row[AT]} in `, make('span', { class: 'value' }, row[FUNCTION]))];
    if (row[GUESSED]) {
      parts.push(make('div', { class: 'number' }, 'frame ', make('span', { class: level(row[SURE]) }, `${percent(row[SURE])} sure`), ', way ', make('span', { class: level(row[BRANCH]) }, percent(row[BRANCH]))));
    } else if (lane.kind === 'hybrid') parts.push(make('div', { class: 'note' }, 'computed, not predicted'));
    if (row[VALUE] !== null) {
      const chance = row[SURES][''];
      parts.push(make('div', {}, row[EVENT] === RETURN ? 'returns ' : 'raises ', make('span', { class: 'value' }, row[VALUE]), chance === undefined ? '' : make('span', { class: `number ${level(chance)}` }, `  ${percent(chance)}`)));
    }
    if (data.parting && real && lane !== real && lane.parent === null && position >= data.parting.frame) {
      const { frame, differences, line } = data.parting;
      parts.push(make('div', { class: 'alarm' }, position === frame ? `Here the runs part, after line ${line}: ${differences.join('; ')}` : `After the first difference, at frame ${frame}`),
        position === frame ? null : make('button', { onclick: () => this.page.goTo(frame) }, 'Go to the first difference'));
    }
    if (position === lane.rows.length - 1 && lane.ended) parts.push(make('div', { class: 'note' }, `The run ends here: ${lane.outcome}`));
    if (data.waiting) parts.push(make('div', { class: 'note' }, 'The real run is not there yet.'));
    if (data.problem) parts.push(make('div', { class: 'alarm' }, `No real run: ${data.problem}`));
    if (data.edited) parts.push(make('div', { class: 'alarm' }, 'The file has been edited since it was read: start cwm again to take it as it now is.'));
    byId('frame').replaceChildren(...parts.filter((part) => part !== null));
  }

  locals(row) {
    const { lane, position, real, live } = this.page;
    const state = lane.locals(position);
    const beside = real && real !== lane && real.rows[position] && real.rows[position][AT] === row[AT] ? real.locals(position) : null;
    const rows = [...state].map(([name, text]) => {
      const changed = name in row[CHANGED], chance = row[SURES][name];
      const other = beside && beside.get(name) !== text ? beside.get(name) : undefined;
      return make('tr', { class: changed ? 'changed' : null },
        make('th', { scope: 'row' }, name, changed ? make('span', { title: 'changed' }, ' *') : ''),
        make('td', {}, make('span', { class: 'value' }, short(text, 400)), other === undefined ? '' : make('span', { class: 'really value' }, `really ${short(other, 200)}`)),
        make('td', { class: `number ${chance === undefined ? '' : level(chance)}` }, chance === undefined ? '' : percent(chance)),
        make('td', {}, sparkline(lane.history(position, name), position)),
        make('td', {}, live && row[EVENT] <= LINE ? make('button', { 'aria-label': `Change ${name}`, onclick: () => this.page.askChange(name, text) }, '✎') : ''));
    });
    const head = make('tr', {}, ...['Name', 'Value', 'Sure', 'History', ''].map((text) => make('th', { scope: 'col', class: 'note' }, text)));
    byId('locals').replaceChildren(rows.length ? make('table', {}, make('thead', {}, head), make('tbody', {}, ...rows)) : make('p', { class: 'note' }, 'No names yet.'));
  }

  stack() {
    const { lane, position } = this.page;
    byId('stack').replaceChildren(...lane.stack(position).map((at) => make('li', {},
      make('button', { 'aria-current': at === position ? 'true' : null, onclick: () => this.page.goTo(at) }, `${lane.rows[at][FUNCTION]}, line ${lane.rows[at][AT]}`))));
  }

  // The runs as a tree: each future below the run that it left.
  futures() {
    const { lanes, lane } = this.page;
    const branch = (parent) => lanes.filter((other) => other.parent === parent).map((other) => {
      const from = other.parent === null ? null : lanes[other.parent];
      const part = from ? firstDifference(other, from) : -1;
      const about = `${other.title}${other.probability === null ? '' : ` (${percent(other.probability)})`}`;
      const more = from ? `from frame ${other.fork}${part >= 0 ? `, differs at ${part}` : ', no difference so far'}` : `${other.known} frame${other.known === 1 ? '' : 's'}`;
      const inner = branch(other.number);
      return make('li', {},
        make('button', { 'aria-current': other === lane ? 'true' : null, onclick: () => this.page.walk(other) }, about),
        make('span', { class: 'note' }, ` ${more}; ${other.outcome === null ? 'so far' : other.outcome}${ending(other)}`),
        inner.length ? make('ul', {}, ...inner) : null);
    });
    byId('futures').replaceChildren(...branch(null));
  }

  lanes() {
    const { lanes, lane, data } = this.page;
    const shown = lanes.filter((other) => other === lane || other.parent === null);
    const total = Math.max(1, ...shown.map((other) => other.rows.length));
    this.total = total;
    byId('lanes').replaceChildren(...shown.map((other) => {
      const strip = make('div', { class: 'strip', onclick: (event) => this.page.goTo(Math.floor(((event.offsetX) * total) / strip.clientWidth)) }, make('canvas', { 'aria-hidden': 'true' }), make('div', { class: 'cursor' }));
      if (data.parting && other.parent === null) {
        const mark = make('div', { class: 'parts', title: `the runs part at frame ${data.parting.frame}` });
        mark.style.left = `${(100 * data.parting.frame) / total}%`;
        strip.append(mark);
      }
      return make('div', { class: 'lane' }, make('span', { title: other.title }, other.title), strip);
    }));
    for (const [number, other] of shown.entries()) drawLane(byId('lanes').children[number].querySelector('canvas'), other, total);
    byId('scrubber').max = String(total - 1);
    this.cursor();
  }

  cursor() {
    const { position, lane } = this.page;
    for (const cursor of document.querySelectorAll('.cursor')) cursor.style.left = `${(100 * (position + 0.5)) / (this.total || 1)}%`;
    const scrubber = byId('scrubber');
    scrubber.value = String(position);
    scrubber.setAttribute('aria-valuetext', `frame ${position} of ${lane.known - 1}, line ${lane.rows[position][AT]}`);
  }
}

function short(text, length) {
  return text.length <= length ? text : `${text.slice(0, length)} …+${text.length - length}`;
}

function rank(frames, number) {
  let count = 0;
  while (count < frames.length && frames[count] <= number) count += 1;
  return count;
}

function ending(lane) {
  const last = lane.rows[lane.rows.length - 1];
  return lane.ended && last && last[VALUE] !== null ? ` ${short(last[VALUE], 80)}` : '';
}

function inSight(item, panel) {
  const one = item.getBoundingClientRect(), other = panel.getBoundingClientRect();
  return one.top >= other.top + 24 && one.bottom <= other.bottom - 24;
}
