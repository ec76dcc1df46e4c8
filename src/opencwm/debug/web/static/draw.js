// Small pictures: a name's history, and a lane's depth and confidence over all frames.

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function drawn(tag, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Numbers as a line, other values by the length of their text; the dot is now.
function sparkline(history, now) {
  const shown = history.slice(-200).filter(([, text]) => text !== null);
  const numbers = shown.map(([, text]) => (/^-?\d+(\.\d+)?(e[+-]?\d+)?$/.test(text) ? Number(text) : NaN));
  const heights = numbers.every(Number.isFinite) ? numbers : shown.map(([, text]) => text.length);
  const low = Math.min(...heights), high = Math.max(...heights);
  const x = (place) => 3 + (78 * place) / Math.max(1, heights.length - 1);
  const y = (height) => (high === low ? 9 : 15 - (12 * (height - low)) / (high - low));
  const last = shown.slice(-5).map(([, text]) => (text.length > 20 ? `${text.slice(0, 20)}...` : text)).join(', ');
  const label = `${history.length} values${history.length > 5 ? ', the last' : ''}: ${last}`;
  const picture = drawn('svg', { class: 'spark', viewBox: '0 0 84 18', role: 'img', 'aria-label': label });
  picture.append(drawn('polyline', { points: heights.map((height, place) => `${x(place)},${y(height)}`).join(' ') }));
  let place = shown.findIndex(([frame]) => frame > now) - 1;
  if (place === -2) place = shown.length - 1;
  if (place >= 0) picture.append(drawn('circle', { cx: x(place), cy: y(heights[place]), r: 2.2 }));
  return picture;
}

// One column of pixels per group of frames: as high as the deepest call, coloured by the least sure frame.
function drawLane(canvas, lane, total) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const style = getComputedStyle(document.documentElement);
  const colours = {};
  for (const name of ['sure', 'likely', 'unsure', 'accent']) colours[name] = style.getPropertyValue(`--${name}`).trim();
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, width, height);
  const depths = new Float64Array(width).fill(-1), sures = new Float64Array(width).fill(1);
  let deepest = 1, at = 0;
  for (const row of lane.rows) {
    const first = Math.floor((at * width) / total), last = Math.max(first, Math.ceil(((at + 1) * width) / total) - 1);
    for (let column = first; column <= last && column < width; column++) {
      if (row[DEPTH] > depths[column]) depths[column] = row[DEPTH];
      if (row[GUESSED] && row[SURE] < sures[column]) sures[column] = row[SURE];
    }
    if (row[DEPTH] + 1 > deepest) deepest = row[DEPTH] + 1;
    at += 1;
  }
  context.globalAlpha = 0.75;
  for (let column = 0; column < width; column++) {
    if (depths[column] < 0) continue;
    context.fillStyle = lane.kind === 'real' ? colours.accent : colours[level(sures[column])];
    const top = ((depths[column] + 1) / deepest) * (height - 4);
    context.fillRect(column, height - top, 1, top);
  }
}
