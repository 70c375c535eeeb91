/* The log: /logs, filtered here. */

const LEVELS = ['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'];
const KNOWN_FIELDS = new Set(['time', 'level', 'service', 'logger', 'message']);
const MAX_ROWS = 200;

const rows = new Map();
let entries = [];

function showLogs(found, source) {
  entries = found;
  write(byId('logs-note'), source === 'this-process' ? 'Redis does not answer: these are the entries of one process of the API.' : '');
  offerServices();
  paintLogs();
}

function offerServices() {
  const select = byId('filters').elements.service;
  const offered = new Set([...select.options].map((option) => option.value));
  for (const name of new Set(entries.map((entry) => String(entry.service)))) {
    if (!offered.has(name)) select.append(make('option', { value: name }, name));
  }
}

function paintLogs() {
  const { level, service, text } = byId('filters').elements;
  const least = LEVELS.indexOf(level.value);
  const wanted = text.value.trim().toLowerCase();
  const shown = entries.filter((entry) => LEVELS.indexOf(entry.level) >= least
    && (!service.value || entry.service === service.value)
    && (!wanted || JSON.stringify(entry).toLowerCase().includes(wanted))).slice(0, MAX_ROWS);
  const nodes = new Map(shown.map((entry) => {
    const key = JSON.stringify(entry);
    return [key, rows.get(key) ?? logRow(entry)];
  }));
  rows.clear();
  for (const [key, node] of nodes) rows.set(key, node);
  const empty = entries.length ? 'No entry fits the filter.' : 'There are no entries yet.';
  place(byId('logs'), nodes.size ? [...nodes.values()] : [make('p', { class: 'empty' }, empty)]);
}

/** Makes `wanted` the children of a node, leaving those in place that are there: one may be open. */
function place(node, wanted) {
  const kept = new Set(wanted);
  for (const child of [...node.children]) if (!kept.has(child)) child.remove();
  wanted.forEach((child, index) => {
    if (node.children[index] !== child) node.insertBefore(child, node.children[index] ?? null);
  });
}

function logRow(entry) {
  const time = moment(entry.time);
  return make('details', { class: 'row', 'data-level': entry.level },
    make('summary', {},
      make('time', { datetime: String(entry.time) }, time ? clock(time) : NOTHING),
      make('span', { class: 'level' }, String(entry.level)),
      make('span', { class: 'service' }, String(entry.service)),
      make('span', { class: 'message' }, ...messageOf(entry))),
    make('dl', {}, ...Object.entries(entry).flatMap(([name, value]) => [
      make('dt', {}, name), make('dd', {}, typeof value === 'string' ? value : JSON.stringify(value)),
    ])));
}

function messageOf(entry) {
  if (entry.method && entry.status && entry.message === 'request') {
    return [`${entry.method} ${entry.path ?? entry.route} `, make('b', {}, String(entry.status)),
      make('small', {}, ` ${milliseconds(entry.duration_ms)}`)];
  }
  const more = Object.entries(entry)
    .filter(([name]) => !KNOWN_FIELDS.has(name) && name !== 'request_id' && name !== 'exc_info')
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return [String(entry.message), make('small', {}, ` ${more.join(' ')}`)];
}

byId('filters').addEventListener('input', paintLogs);
byId('filters').addEventListener('submit', (event) => event.preventDefault());
