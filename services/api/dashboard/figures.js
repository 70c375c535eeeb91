/* The tiles and charts: /metrics, with a history that is kept in the page. */

const history = [];

const charts = {
  tiers: new Chart(byId('tiers'), {
    name: 'Redirects per second by tier', format: rate, least: 1, stacked: true, legend: byId('tiers-legend'),
    series: [{ key: 'local', label: 'Local' }, { key: 'redis', label: 'Redis' }, { key: 'database', label: 'PostgreSQL' }],
  }),
  latency: new Chart(byId('latency'), {
    name: 'Redirect latency', format: milliseconds, least: 1, legend: byId('latency-legend'),
    series: [{ key: 'p50', label: 'p50' }, { key: 'p99', label: 'p99' }],
  }),
  redirects: spark('redirects', 'Redirects per second', rate, 1),
  p99: spark('latency', 'Redirect latency, p99', milliseconds, 1, 'p99'),
  requests: spark('requests', 'Requests per second', rate, 1),
  errors: spark('errors', 'Error rate', percent, 0.02),
  lag: spark('lag', 'Click lag', duration, 1),
};

function spark(tile, name, format, least, key = tile) {
  const node = byId(`tile-${tile}`).querySelector('.spark');
  return new Chart(node, { name, format, least, bare: true, series: [{ key, label: name }] });
}

function showFigures(metrics, now) {
  const sample = sampleOf(metrics, now);
  history.push(sample);
  while (history[0].time < now - MOST_MINUTES * MINUTE - GAP) history.shift();
  const { requests = {}, memory = {} } = metrics;
  write(byId('host'), `${metrics.hostname} · CPU ${percent(metrics.cpu_percent / 100)} · memory ${percent(memory.percent / 100)}`);
  tile('redirects', rate(sample.redirects), '', tierNote(sample));
  tile('latency', milliseconds(sample.p99), '', `p50 ${milliseconds(sample.p50)}`);
  tile('requests', rate(sample.requests), '', `${count(requests.total)} in ${duration(requests.window_seconds)}`);
  tile('errors', percent(sample.errors), sample.errors > 0.1 ? 'bad' : sample.errors > 0.01 ? 'doubtful' : '',
    `${count(requests.errors)} of ${count(requests.total)}`);
  tile('lag', duration(sample.lag), sample.lag > 30 ? 'doubtful' : '', 'until a click is counted');
}

function drawCharts(now) {
  for (const chart of Object.values(charts)) chart.show(history, now);
}

/** One point of every chart. Tiers are told as parts of the whole or as rates; both become rates. */
function sampleOf({ requests = {}, redirects = {}, clicks = {} }, time) {
  const parts = redirects.by_tier ?? {};
  const whole = Object.values(parts).filter(isNumber).reduce((sum, part) => sum + part, 0);
  const total = redirects.per_second;
  const tier = (name) => (isNumber(total) ? (whole > 0 ? (total * (parts[name] ?? 0)) / whole : 0) : null);
  return {
    time,
    redirects: total ?? null,
    p50: redirects.p50_ms ?? null,
    p99: redirects.p99_ms ?? null,
    local: tier('local'),
    redis: tier('redis'),
    database: tier('database'),
    requests: requests.per_second ?? null,
    errors: requests.error_rate ?? null,
    lag: clicks.lag_seconds ?? null,
  };
}

function tierNote({ redirects, local }) {
  return redirects > 0 ? `${percent(local / redirects)} from local memory` : 'no link was followed lately';
}

function tile(name, value, mood, note) {
  const node = byId(`tile-${name}`);
  node.dataset.mood = mood;
  write(node.querySelector('b'), value);
  write(node.querySelector('.note'), note);
}
