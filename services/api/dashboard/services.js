/* Alerts, stores and processes: /alert-status, /ready and the services of /metrics. */

const SILENT_SECONDS = 10;
const ALERTS = {
  service_down: ['Service down', 'PostgreSQL can be reached', 'PostgreSQL can’t be reached'],
  high_error_rate: ['High error rate', 'few answers are errors', 'too many answers are errors'],
};

let firing = [];

function showAlerts({ alerts = {}, email_configured: email }, now) {
  firing = Object.entries(alerts).filter(([, alert]) => alert.firing).map(([name]) => alertName(name));
  write(byId('email'), email ? 'email is on' : 'email is off');
  byId('alerts').replaceChildren(...Object.entries(alerts).map(([name, alert]) => {
    const since = moment(alert.since);
    const [, fine, wrong] = ALERTS[name] ?? [null, '', ''];
    const age = since ? `for ${duration((now - since) / 1000)}, since ${clock(since)}` : '';
    return make('li', {},
      make('span', { class: 'what' }, make('b', {}, alertName(name)), make('small', {}, alert.firing ? [wrong, age].filter(Boolean).join(', ') : fine)),
      state(alert.firing ? 'bad' : 'good', alert.firing ? 'firing' : 'ok'));
  }));
}

function alertName(name) {
  return ALERTS[name]?.[0] ?? name.replaceAll('_', ' ');
}

/** What the API finds itself, and how many processes find otherwise. */
function showStores(ready, services) {
  const rows = [['PostgreSQL', ready.database, 'database_up'], ['Redis', ready.redis, 'redis_up']];
  byId('stores').replaceChildren(...rows.map(([name, found, field]) => {
    const fresh = services.filter((service) => !isSilent(service));
    const without = fresh.filter((service) => service[field] === false || service[field] === 0).length;
    const note = without ? `out of reach for ${without} of ${fresh.length} processes` : fresh.length > 1 ? `all ${fresh.length} processes reach it` : 'as the API finds it';
    const kind = found === 'up' ? (without ? 'doubtful' : 'good') : 'bad';
    return make('li', {},
      make('span', { class: 'what' }, make('b', {}, name), make('small', {}, found === 'up' ? note : 'as the API finds it')),
      state(kind, found === 'up' ? 'up' : 'down'));
  }));
}

/** Without Redis, the API knows of the process that was asked and of no other. */
function showServices(services, isComplete) {
  const rows = [...services].sort((one, other) => nameOf(one).localeCompare(nameOf(other), 'en', { numeric: true }));
  const working = rows.filter((service) => !isSilent(service) && service.ready).length;
  write(byId('services-count'), isComplete ? `${working} of ${rows.length} ready` : 'without Redis only one process is known');
  byId('services').replaceChildren(...(rows.length ? rows.map(serviceRow) : [emptyRow()]));
}

function serviceRow(service) {
  const silent = isSilent(service);
  const store = (up, name) => make('td', { 'data-label': name },
    silent || up === undefined || up === null ? state('unknown', 'unknown') : state(up ? 'good' : 'bad', up ? 'up' : 'down'));
  return make('tr', {},
    make('th', { scope: 'row' }, String(service.service)),
    make('td', { class: 'instance', 'data-label': 'Instance' }, String(service.instance ?? NOTHING)),
    make('td', { 'data-label': 'State' }, silent ? state('bad', 'silent') : state(service.ready ? 'good' : 'bad', service.ready ? 'ready' : 'not ready')),
    store(service.database_up, 'PostgreSQL'),
    store(service.redis_up, 'Redis'),
    make('td', { class: 'number', 'data-label': 'Last heard' }, `${duration(service.seen_seconds_ago)} ago`));
}

function emptyRow() {
  return make('tr', {}, make('td', { colspan: 6, class: 'empty' }, 'No process has been heard of. They report by way of Redis.'));
}

function isSilent(service) {
  return service.seen_seconds_ago > SILENT_SECONDS;
}

function nameOf(service) {
  return `${service.service} ${service.instance}`;
}

/** The one sentence at the top. */
function showVerdict(ready, services) {
  const missing = services.filter((service) => isSilent(service) || !service.ready).length;
  const words = firing.length ? `Firing: ${firing.join(', ')}`
    : ready && ready.database !== 'up' ? 'PostgreSQL can’t be reached'
    : ready && ready.redis !== 'up' ? 'Working without Redis'
    : missing ? `${missing} ${missing === 1 ? 'process is' : 'processes are'} not working`
    : 'Everything works';
  const kind = firing.length || (ready && ready.database !== 'up') ? 'bad' : words === 'Everything works' ? 'good' : 'doubtful';
  const verdict = byId('verdict');
  verdict.dataset.state = kind;
  write(verdict.querySelector('.words'), words);
  document.title = kind === 'good' ? 'Hoplink' : `${words} · Hoplink`;
}
